//! Versions of the service side by side: what one wrote, the other leaves as it is. And another service, which is refused.

use bson::{Document, doc, oid::ObjectId};
use mongodb::IndexModel;
use serde_json::{Value, json};

use crate::{
    harness::{Place, TestApp},
    process::command,
};

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

#[tokio::test]
async fn a_database_of_another_service_is_refused_with_one_line_that_names_both() {
    let place = Place::new();
    let database = place.database().await;
    let leases = database.collection::<Document>("leases");
    let theirs = doc! { "_id": "service", "name": "orders" };
    leases.insert_one(theirs).await.unwrap();
    let commands: [&[&str]; 4] = [
        &["serve"],
        &["publish"],
        &["outbox", "status"],
        &["outbox", "retry", "--all-parked"],
    ];
    for arguments in commands {
        let refused = command(&place)
            .env("RUST_LOG", "off")
            .args(arguments)
            .output();
        let refused = refused.unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(told.lines().count(), 1, "{told}");
        let names = format!(
            "{} belongs to the service orders, and this is tickets",
            place.name
        );
        assert!(told.contains(&names), "{told}");
    }
    // Nothing was made there.
    assert_eq!(database.list_collection_names().await.unwrap(), ["leases"]);
    place.remove().await;
}
