//! What operators decide on the live page.

use std::time::{Duration, Instant};

use bson::{Document, doc, oid::ObjectId};
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use service::{MOST_VIEWERS, Timing};
use testbed::{Place, client, eventually, fail, has_entered, log::Log, plant};

use crate::toy::{Toy, hangs, own_mongo};

fn event(key: &str, noun: &str) -> Document {
    doc! {
        "_id": ObjectId::new(), "type": "counter.created", "subject": format!("{noun}.created.{key}"), "key": key,
        "version": 0_i64, "data": { "of": key }, "sent": "NO", "createdAt": bson::DateTime::now(),
    }
}

pub(crate) async fn post(toy: &Toy, path: &str, body: Value) -> Response {
    client()
        .post(toy.page(path))
        .json(&body)
        .send()
        .await
        .unwrap()
}

pub(crate) async fn aside(toy: &Toy) -> Value {
    let listed = client().get(toy.page("/aside")).send().await.unwrap();
    listed.json().await.unwrap()
}

#[tokio::test]
async fn what_is_parked_is_shown_with_its_reason_and_payload_and_tried_again_or_skipped_by_who_is_logged()
 {
    let (log, _guard) = Log::capture();
    let toy = Toy::with_page(Place::shared(), Timing::default(), "127.0.0.1:0", None).await;
    let events = [event("a", "other"), event("b", "other")];
    let [a, b] = [&events[0], &events[1]].map(|it| it.get_object_id("_id").unwrap());
    plant(&toy.place, events).await;
    eventually("both are parked", async || {
        toy.place.parked().await.len() == 2
    })
    .await;
    eventually("both are shown", async || {
        aside(&toy).await["parked"].as_array().unwrap().len() == 2
    })
    .await;
    let shown = aside(&toy).await;
    assert!(
        shown["parked"][0]["parked"]["reason"]
            .as_str()
            .unwrap()
            .contains("is not one of"),
        "{shown}"
    );
    assert!(
        shown.to_string().find("\"of\"").is_none(),
        "a payload is shown unasked: {shown}"
    );
    let payload = client()
        .get(toy.page(&format!("/payload?event={a}")))
        .send()
        .await
        .unwrap();
    assert_eq!(
        payload.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(payload.json::<Value>().await.unwrap(), json!({ "of": "a" }));

    // Mended by hand, and tried again.
    let collection = toy.place.database().await.collection::<Document>("events");
    let mended = doc! { "$set": { "subject": "counter.created.a" } };
    collection
        .update_one(doc! { "_id": a }, mended)
        .await
        .unwrap();
    assert_eq!(
        post(&toy, "/retry", json!({ "event": a.to_hex() }))
            .await
            .status(),
        200
    );
    for (body, status) in [
        (json!({ "event": b.to_hex() }), 400),
        (json!({ "event": b.to_hex(), "reason": " " }), 400),
        (
            json!({ "event": b.to_hex(), "reason": "x".repeat(501) }),
            400,
        ),
        (json!({ "event": "b", "reason": "it is nothing" }), 400),
        (
            json!({ "consumer": "nobody", "key": "b", "reason": "it is nothing" }),
            400,
        ),
        (
            json!({ "event": b.to_hex(), "reason": "it is nothing" }),
            200,
        ),
        (
            json!({ "event": b.to_hex(), "reason": "it is nothing" }),
            404,
        ),
    ] {
        let answer = post(&toy, "/skip", body.clone()).await;
        let answered = answer.status();
        let told = answer.text().await.unwrap();
        assert_eq!(answered, status, "{body}: {told}");
    }
    toy.place.drained().await;
    assert_eq!(aside(&toy).await["parked"], json!([]));
    let subjects: Vec<_> = toy
        .place
        .messages()
        .await
        .into_iter()
        .map(|it| it.subject.to_string())
        .collect();
    for ending in ["counter.created.a", "counter.skipped.b"] {
        assert!(
            subjects.iter().any(|it| it.ends_with(ending)),
            "{subjects:?}"
        );
    }
    let told = log.told("decision=\"skip\"").await;
    assert!(
        told.contains("127.0.0.1:") && told.contains("loopback"),
        "{told}"
    );
    assert!(!log.lines_with("it is nothing").is_empty() && !log.lines_with(&a.to_hex()).is_empty());
    toy.finish().await;
}

#[tokio::test]
async fn what_is_shown_of_hundreds_that_are_parked_is_bounded_and_so_is_what_it_costs() {
    let toy = Toy::with_page(Place::shared(), Timing::default(), "127.0.0.1:0", None).await;
    let events: Vec<_> = (0..300)
        .map(|key| event(&key.to_string(), "other"))
        .collect();
    plant(&toy.place, events).await;
    eventually("all are parked", async || {
        toy.place.parked().await.len() == 300
    })
    .await;
    let database = toy.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let all = join_all((0..20).map(|_| aside(&toy))).await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert!(
        all.iter()
            .all(|it| it["parked"].as_array().unwrap().len() == 50)
    );
    let profile = database.collection::<Document>("system.profile");
    // Those of the figures read them all.
    let of_list = doc! { "command.aggregate": "parked", "command.pipeline.1.$limit": 50 };
    let asked = profile.find_one(of_list.clone()).await.unwrap().unwrap();
    assert!(asked.get_i32("docsExamined").unwrap() <= 100, "{asked}");
    assert_eq!(
        profile.count_documents(of_list).await.unwrap(),
        1,
        "each asks for all who come meanwhile"
    );
    toy.stop().await.remove().await;
}

async fn is_parked(toy: &Toy) {
    eventually("it is parked", async || toy.place.parked().await.len() == 1).await;
}

async fn with_page(place: Place) -> Toy {
    Toy::with_page(place, Timing::default(), "127.0.0.1:0", None).await
}

/// What a command at the notes of parked events meets.
async fn at_parked(toy: &Toy, command: &str, mut what: Document) {
    what.insert("namespace", format!("{}.parked", toy.place.name));
    fail(&toy.place, "alwaysOn", command, what).await;
}

#[tokio::test]
async fn a_decision_is_logged_also_where_whoever_made_it_has_hung_up() {
    let (log, _guard) = Log::capture();
    let (_mongo, place) = own_mongo().await;
    let toy = with_page(place).await;
    let event = event("a", "other");
    let id = event.get_object_id("_id").unwrap().to_hex();
    plant(&toy.place, [event]).await;
    is_parked(&toy).await;
    let hold = doc! { "blockConnection": true, "blockTimeMS": 500 };
    at_parked(&toy, "update", hold).await;
    let skip = json!({ "event": id, "reason": "it is nothing" });
    let skip = client().post(toy.page("/skip")).json(&skip).send();
    let asked = tokio::spawn(skip);
    has_entered(&toy.place, 1).await;
    asked.abort();
    let told = log.told("decision=\"skip\"").await;
    assert!(
        told.contains("consumers are told by counter.skipped"),
        "{told}"
    );
    toy.finish().await;
}

#[tokio::test]
async fn where_mongodb_hangs_viewers_wait_for_one_time_out_together_and_hold_nobody_else_up() {
    let (_mongo, place) = own_mongo().await;
    let toy = with_page(place).await;
    at_parked(&toy, "aggregate", hangs()).await;
    let get = async |path: &str| {
        let answer = client().get(toy.page(path)).send().await;
        answer.unwrap().status().as_u16()
    };
    let began = Instant::now();
    let lists = join_all((0..MOST_VIEWERS).map(|_| get("/aside")));
    let payload = async {
        let status = get("/payload?event=000000000000000000000000").await;
        (status, began.elapsed())
    };
    let (lists, (status, after)) = tokio::join!(lists, payload);
    assert_eq!(lists, [503; MOST_VIEWERS]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(status, 404);
    assert!(after < Duration::from_secs(3), "{after:?}");
    // The question of before has not ended, and no other is asked beside it.
    eventually("another is not asked", async || get("/aside").await == 429).await;
}

#[tokio::test]
async fn what_is_shown_of_an_event_is_short_however_long_its_texts_and_only_an_object_id_names_it()
{
    let toy = with_page(Place::shared()).await;
    let long = "x".repeat(100_000);
    let mut nameless = event("b", "other");
    nameless.insert("_id", &*long);
    nameless.insert("type", &*long);
    plant(&toy.place, [event(&long, "other"), nameless]).await;
    let parked = async || aside(&toy).await["parked"].as_array().unwrap().clone();
    eventually("both are shown", async || parked().await.len() == 2).await;
    let length = aside(&toy).await.to_string().len();
    assert!(length < 5_000, "{length}");
    let names: Vec<_> = parked()
        .await
        .iter()
        .map(|it| it["event"].clone())
        .collect();
    let name = names.iter().find(|name| name.is_string()).unwrap();
    assert!(names.contains(&Value::Null), "{names:?}");
    let id = name.as_str().unwrap();
    let payload = toy.page(&format!("/payload?event={id}"));
    let payload = client().get(payload).send().await.unwrap();
    let payload = payload.text().await.unwrap();
    let (shown, rest) = payload.rsplit_once("\n… ").unwrap();
    assert_eq!(shown.len(), 64 * 1024);
    assert!(rest.ends_with(" bytes in all"), "{rest}");
    let skip = json!({ "event": name, "reason": "it is long" });
    assert_eq!(post(&toy, "/skip", skip).await.status(), 200);
    eventually("it is not shown", async || parked().await.len() == 1).await;
    toy.stop().await.remove().await;
}
