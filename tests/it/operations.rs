//! What docs/operations.md tells operators about the data: erasure, fields of other versions, what a request costs.

use bson::{Document, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Process, stream, text};

use crate::{
    harness::{Place, TestApp, token},
    operators::{event, plant},
    process::command,
};

/// Everything that the database and the stream hold, as text.
async fn all_that_is_kept(place: &Place) -> String {
    let database = place.database().await;
    let mut kept = String::new();
    for name in database.list_collection_names().await.unwrap() {
        let documents = database.collection::<Document>(&name).find(doc! {}).await;
        let documents: Vec<Document> = documents.unwrap().try_collect().await.unwrap();
        kept += &format!("{name}: {documents:?}\n");
    }
    for message in place.messages().await {
        let payload = String::from_utf8_lossy(&message.payload);
        kept += &format!("{} {:?} {payload}\n", message.subject, message.headers);
    }
    kept
}

#[tokio::test]
async fn a_person_is_erased_and_everybody_else_goes_on() {
    let app = TestApp::start().await;
    let hers = app
        .request(Method::POST, "/api/tickets")
        .bearer_auth(token("alice"))
        .header("idempotency-key", "a-key")
        .json(&json!({ "title": "alice's concert", "price": 1 }));
    let hers: Value = hers.send().await.unwrap().json().await.unwrap();
    let hers = text(&hers["id"]);
    let play = json!({ "title": "alice's play", "price": 2 });
    assert_eq!(app.put("alice", &hers, play).await.status(), 200);
    let his = app
        .post("bob", json!({ "title": "concert", "price": 1 }))
        .await;
    let his = text(&his.json::<Value>().await.unwrap()["id"]);
    app.place.drained().await;
    assert!(all_that_is_kept(&app.place).await.contains("alice"));

    let database = app.place.database().await;
    for (collection, of_her) in [
        ("tickets", doc! { "userId": "alice" }),
        ("events", doc! { "key": &hers }),
        ("answers", doc! { "_id.user": "alice" }),
    ] {
        let collection = database.collection::<Document>(collection);
        assert!(collection.delete_many(of_her).await.unwrap().deleted_count > 0);
    }
    let stream = stream(&app.place).await;
    let subjects = format!("{}.ticket.*.{hers}", app.place.name);
    assert_eq!(stream.purge().filter(subjects).await.unwrap().purged, 2);

    let kept = all_that_is_kept(&app.place).await;
    assert!(!kept.contains("alice") && !kept.contains(&hers), "{kept}");
    let mut replay = command(&app.place);
    replay.args(["outbox", "replay", "--since", "1h", "--json"]);
    let replayed = tokio::task::spawn_blocking(move || replay.output().unwrap());
    let replayed: Value = serde_json::from_slice(&replayed.await.unwrap().stdout).unwrap();
    assert_eq!(replayed, json!({ "checked": 1, "lost": [] }));
    let play = json!({ "title": "play", "price": 2 });
    assert_eq!(app.put("bob", &his, play).await.status(), 200);
    app.place.drained().await;
    assert_eq!(app.place.messages().await.len(), 2);
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_whose_messages_were_purged_can_still_be_changed() {
    let app = TestApp::start().await;
    let id = app.create().await;
    for price in 1..=2 {
        app.put("alice", &id, json!({ "title": "play", "price": price }))
            .await;
    }
    app.place.drained().await;
    let stream = stream(&app.place).await;
    let subjects = format!("{}.ticket.*.{id}", app.place.name);
    assert_eq!(stream.purge().filter(subjects).await.unwrap().purged, 3);
    app.put("alice", &id, json!({ "title": "play", "price": 3 }))
        .await;
    app.place.drained().await;
    let messages = app.place.messages().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(
        messages[0].headers.get("ce-keyversion").unwrap().as_str(),
        "3"
    );
    app.finish().await;
}

#[tokio::test]
async fn fields_of_a_later_version_are_kept_and_published() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let tickets = app.place.database().await.collection::<Document>("tickets");
    let by_id = doc! { "_id": ObjectId::parse_str(&id).unwrap() };
    let seat = doc! { "$set": { "seat": "A 7" } };
    tickets.update_one(by_id.clone(), seat).await.unwrap();
    let changed = app.put("alice", &id, json!({ "title": "play", "price": 2 }));
    assert_eq!(changed.await.status(), 200);
    let stored = tickets.find_one(by_id).await.unwrap().unwrap();
    assert_eq!(stored.get_str("seat").unwrap(), "A 7");
    assert_eq!(stored.get_str("title").unwrap(), "play");

    let mut later = event("later", 0, doc! { "seat": "A 7" });
    later.insert("cause", "a field of the event's own");
    plant(&app.place, [later]).await;
    app.place.drained().await;
    let messages = app.place.messages().await;
    let message = messages.iter().find(|it| it.subject.ends_with(".later"));
    assert_eq!(&message.unwrap().payload[..], br#"{"seat":"A 7"}"#);
    app.finish().await;
}

/// How often the database was asked for `request`: its statements. A transaction's commit is one more.
async fn statements(app: &TestApp, request: reqwest::RequestBuilder) -> u64 {
    app.place.drained().await;
    let database = app.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    assert!(request.send().await.unwrap().status().is_success());
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let ns = |name: &str| format!("{}.{name}", app.place.name);
    // The publisher inserts no events, and asks nothing of the others.
    let of_requests = doc! { "$or": [
        { "ns": { "$in": [ns("tickets"), ns("answers")] } },
        { "ns": ns("events"), "op": "insert" },
    ] };
    let profile = database.collection::<Document>("system.profile");
    let asked = profile.count_documents(of_requests).await.unwrap();
    profile.drop().await.unwrap();
    asked
}

#[tokio::test]
async fn each_request_asks_the_database_as_often_as_operations_tells() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let request = |method: Method, path: &str, price: i32| {
        let request = app.request(method, path).bearer_auth(token("alice"));
        request.json(&json!({ "title": "play", "price": price }))
    };
    let path = format!("/api/tickets/{id}");
    let create = || request(Method::POST, "/api/tickets", 1);
    let with_key =
        |request: reqwest::RequestBuilder, key: &str| request.header("idempotency-key", key);
    assert_eq!(statements(&app, app.request(Method::GET, &path)).await, 1);
    assert_eq!(statements(&app, create()).await + 1, 3);
    assert_eq!(statements(&app, with_key(create(), "one")).await + 1, 5);
    let change = |price| request(Method::PUT, &path, price);
    assert_eq!(statements(&app, change(1)).await + 1, 4);
    assert_eq!(statements(&app, with_key(change(2), "two")).await + 1, 6);
    app.finish().await;
}

#[tokio::test]
async fn an_instance_that_cannot_make_a_unique_index_publishes_nothing_and_its_log_says_why() {
    let place = Place::new();
    plant(
        &place,
        [0, 0].map(|version| event("twice", version, doc! {})),
    )
    .await;
    let mut service = Process::logged(&mut command(&place));
    let line = service.told("waiting for the database");
    // Which index, and nothing of what is stored.
    let says = line.contains("E11000") && line.contains("key_1_version_1");
    assert!(says && !line.contains("twice"), "{line}");
    assert!(place.messages().await.is_empty());
    drop(service);
    place.remove().await;
}
