//! Versions of the service side by side: what one wrote, the other leaves as it is.

use bson::{Document, doc, oid::ObjectId};
use mongodb::IndexModel;
use serde_json::{Value, json};

use crate::harness::TestApp;

#[tokio::test]
async fn fields_and_indexes_that_another_version_made_are_kept_and_passed_over() {
    let app = TestApp::start().await;
    let id = app.create().await;
    app.place.drained().await;
    let place = app.stop().await;
    let tickets = place.database().await.collection::<Document>("tickets");
    let by_id = doc! { "_id": ObjectId::parse_str(&id).unwrap() };
    let newer = doc! { "$set": { "seat": "7b" } };
    tickets.update_one(by_id.clone(), newer).await.unwrap();
    let index = IndexModel::builder().keys(doc! { "seat": 1 }).build();
    tickets.create_index(index).await.unwrap();

    let app = TestApp::start_at(place).await;
    let body = json!({ "title": "play", "price": 1 });
    assert_eq!(app.put("alice", &id, body).await.status(), 200);
    let listed: Value = app.get("/api/tickets").await.json().await.unwrap();
    assert_eq!(listed[0]["title"], "play");
    let ticket = tickets.find_one(by_id).await.unwrap().unwrap();
    assert_eq!(ticket.get_str("seat").unwrap(), "7b");
    let indexes = tickets.list_index_names().await.unwrap();
    assert!(indexes.contains(&"seat_1".to_owned()), "{indexes:?}");
    app.finish().await;
}
