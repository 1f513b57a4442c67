//! Both or neither: a ticket and the event that announces it.

use bson::{Document, doc};
use serde_json::json;
use testbed::{assert_problem, at_the_next};

use crate::harness::{TestApp, with_own_mongo};

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
    // Its database goes with the server: the transaction, which nobody ended, holds on to it for a minute.
    app.stop().await;
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
