//! Both or neither: a ticket and the event that announces it.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::{
    harness::{Place, TestApp, assert_problem},
    idempotency::{at_the_next, is_held, with_own_mongo},
};

async fn saved(app: &TestApp) -> (u64, usize) {
    let tickets = app.place.database().await.collection::<Document>("tickets");
    let tickets = tickets.count_documents(doc! {}).await.unwrap();
    (tickets, app.place.events().await.len())
}

#[tokio::test]
async fn a_commit_that_fails_leaves_neither_a_ticket_nor_an_event() {
    let (_mongo, app) = with_own_mongo().await;
    at_the_next(&app.place, "commitTransaction", doc! { "errorCode": 2 }).await;
    let refused = app
        .post("alice", json!({ "title": "concert", "price": 1 }))
        .await;
    assert_problem(refused, 500).await;
    assert_eq!(saved(&app).await, (0, 0));
    app.finish().await;
}

#[tokio::test]
async fn a_change_whose_event_cannot_be_saved_is_not_saved() {
    let app = TestApp::start().await;
    let id = app.create().await;
    app.place.drained().await;
    // The event's version is taken: the unique index refuses ours.
    let events = app.place.database().await.collection::<Document>("events");
    let taken = doc! { "key": &id, "version": 1_i64, "sent": "YES" };
    events.insert_one(taken).await.unwrap();
    let refused = app
        .put("alice", &id, json!({ "title": "play", "price": 1 }))
        .await;
    assert_problem(refused, 500).await;
    let unchanged = app.get(&format!("/api/tickets/{id}")).await;
    assert_eq!(unchanged.headers()["etag"], "\"0\"");
    app.finish().await;
}

/// The next command of this name, as the server got it.
async fn held_command(place: &Place, name: &str) -> Document {
    is_held(place, name).await;
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleSessions": true } },
        doc! { "$match": { format!("command.{name}"): { "$exists": true } } },
    ];
    let admin = place.database().await.client().database("admin");
    let held: Vec<Document> = admin
        .aggregate(pipeline)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    held[0].get_document("command").unwrap().clone()
}

#[tokio::test]
async fn a_commit_waits_for_a_majority() {
    let (_mongo, app) = with_own_mongo().await;
    let asked = async |name, concern| {
        let hold = doc! { "blockConnection": true, "blockTimeMS": 1000 };
        at_the_next(&app.place, name, hold).await;
        let (_, command) = tokio::join!(app.create(), held_command(&app.place, name));
        command.get_document(concern).unwrap().clone()
    };
    let read = asked("insert", "readConcern").await;
    assert_eq!(read.get_str("level").unwrap(), "majority");
    let write = asked("commitTransaction", "writeConcern").await;
    assert_eq!(write.get_str("w").unwrap(), "majority");
    app.finish().await;
}
