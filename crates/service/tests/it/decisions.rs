//! What operators decide on the live page.

use bson::{Document, doc, oid::ObjectId};
use reqwest::Response;
use serde_json::{Value, json};
use service::Timing;
use testbed::{Place, client, eventually, log::Log, plant};

use crate::toy::Toy;

fn event(key: &str, noun: &str) -> Document {
    doc! {
        "_id": ObjectId::new(), "type": "counter.created", "subject": format!("{noun}.created.{key}"), "key": key,
        "version": 0_i64, "data": { "of": key }, "sent": "NO", "createdAt": bson::DateTime::now(),
    }
}

async fn post(toy: &Toy, path: &str, body: Value) -> Response {
    client()
        .post(toy.page(path))
        .json(&body)
        .send()
        .await
        .unwrap()
}

async fn aside(toy: &Toy) -> Value {
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
    let all = futures_util::future::join_all((0..20).map(|_| aside(&toy))).await;
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
