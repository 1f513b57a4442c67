//! The course's tickets, as mongoose 5 with mongoose-update-if-current has written them (`course_tickets.json`), are taken over.

use std::process::{Command, Output};

use bson::{Document, doc};
use mongodb::Database;
use serde_json::{Value, json};

use crate::{
    harness::{Place, TestApp},
    orders::{Order, Orders},
    reservations::{CANCELLED, CREATED, finish, is_held},
};

const WRITTEN_BY_MONGOOSE: &str = include_str!("course_tickets.json");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/take-over");

/// The course's database, beside the service's.
async fn course(place: &Place) -> Database {
    let database = place
        .database()
        .await
        .client()
        .database(&course_name(place));
    let tickets: Vec<Document> = serde_json::from_str(WRITTEN_BY_MONGOOSE).unwrap();
    let collection = database.collection("tickets");
    collection.insert_many(tickets).await.unwrap();
    database
}

fn course_name(place: &Place) -> String {
    format!("{}-course", place.name)
}

fn take_over(place: &Place) -> Output {
    let source = place
        .mongo_uri
        .replacen(&place.name, &course_name(place), 1);
    let mut command = Command::new(SCRIPT);
    command.arg(source).env("MONGO_URI", &place.mongo_uri);
    command.output().unwrap()
}

#[tokio::test]
async fn tickets_of_the_course_are_taken_over_announced_and_changed() {
    let app = TestApp::start().await;
    let course = course(&app.place).await;
    for told in [
        "8 tickets copied, 0 were here",
        "0 tickets copied, 8 were here",
    ] {
        let output = take_over(&app.place);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(told), "{said}");
    }
    app.place.drained().await;

    let tickets: Vec<Document> = serde_json::from_str(WRITTEN_BY_MONGOOSE).unwrap();
    let prices = [20.0, 19.99, 0.07, 0.3, 13.0, 50.0, 60.0, 5.0];
    let messages = app.place.messages().await;
    assert_eq!(messages.len(), tickets.len());
    for (old, price) in tickets.iter().zip(prices) {
        let id = old.get_object_id("_id").unwrap().to_hex();
        let expected = json!({
            "id": id, "title": old.get_str("title").unwrap(), "price": price, "userId": old.get_str("userId").unwrap(),
            "orderId": old.get_str("orderId").ok(), "version": 0,
        });
        let ticket: Value = app
            .get(&format!("/api/tickets/{id}"))
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(ticket, expected);
        let message = messages
            .iter()
            .find(|it| it.subject.ends_with(&format!("ticket.created.{id}")));
        let told: Value = serde_json::from_slice(&message.unwrap().payload).unwrap();
        assert_eq!(told, expected);
    }

    // The one that was changed most is changed once more, by its owner.
    let (id, owner) = (
        tickets[4].get_object_id("_id").unwrap(),
        tickets[4].get_str("userId").unwrap(),
    );
    let changed = app
        .put(
            owner,
            &id.to_hex(),
            json!({ "title": "changed", "price": 14 }),
        )
        .await;
    assert_eq!(changed.headers()["etag"], "\"1\"");
    // The reserved one is not there to be had.
    let listed: Value = app.get("/api/tickets").await.json().await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), tickets.len() - 1);
    course.drop().await.unwrap();
    app.finish().await;
}

#[tokio::test]
async fn a_reserved_ticket_that_was_taken_over_is_released_by_the_events_of_its_order() {
    let (orders, app) = Orders::and_tickets().await;
    let course = course(&app.place).await;
    assert!(take_over(&app.place).status.success());
    let tickets: Vec<Document> = serde_json::from_str(WRITTEN_BY_MONGOOSE).unwrap();
    let reserved = tickets.iter().find(|it| it.contains_key("orderId"));
    let reserved = reserved.unwrap();
    let ticket = reserved.get_object_id("_id").unwrap().to_hex();
    let mut order = Order::of(&ticket);
    order.id = reserved.get_str("orderId").unwrap().to_owned();
    is_held(&app, &ticket, Some(&order), 0).await;

    orders.publish_without_headers(&mut order, CREATED).await;
    orders.publish_without_headers(&mut order, CANCELLED).await;
    is_held(&app, &ticket, None, 1).await;
    course.drop().await.unwrap();
    finish(orders, app).await;
}

#[tokio::test]
async fn tickets_are_not_taken_over_into_another_services_database() {
    let place = Place::new();
    let course = course(&place).await;
    let database = place.database().await;
    // As the service `orders` has them too.
    for collection in ["tickets", "events"] {
        database.create_collection(collection).await.unwrap();
    }
    let owner = doc! { "_id": "service", "name": "orders" };
    let leases = database.collection::<Document>("leases");
    leases.insert_one(owner).await.unwrap();
    let output = take_over(&place);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("that of the service orders"), "{said}");
    for collection in ["tickets", "events"] {
        let documents = database.collection::<Document>(collection);
        assert_eq!(documents.count_documents(doc! {}).await.unwrap(), 0);
    }
    course.drop().await.unwrap();
    database.drop().await.unwrap();
}

#[tokio::test]
async fn a_title_that_is_too_long_for_a_change_is_taken_over_and_told() {
    let app = TestApp::start().await;
    let course = course(&app.place).await;
    let tickets = course.collection::<Document>("tickets");
    let title = "ü".repeat(101);
    let ticket = doc! { "title": &title, "price": 20, "userId": "alice", "version": 0 };
    let id = tickets.insert_one(ticket).await.unwrap().inserted_id;
    let id = id.as_object_id().unwrap().to_hex();
    let said = String::from_utf8(take_over(&app.place).stdout).unwrap();
    assert!(said.contains(&format!("{id}: 101 characters")), "{said}");
    let keep = |title: &str| app.put("alice", &id, json!({ "title": title, "price": 21 }));
    assert_eq!(keep(&title).await.status(), 400);
    assert_eq!(keep(&title[..200]).await.status(), 200);
    course.drop().await.unwrap();
    app.finish().await;
}

#[tokio::test]
async fn what_cannot_be_taken_over_is_named_and_nothing_is_done() {
    let app = TestApp::start().await;
    let course = course(&app.place).await;
    let tickets = course.collection::<Document>("tickets");
    let ticket = doc! { "title": "a fraction", "price": 1.005, "userId": "alice", "version": 0 };
    let id = tickets.insert_one(ticket).await.unwrap().inserted_id;
    let output = take_over(&app.place);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let named = format!("{}: its price is 1.005", id.as_object_id().unwrap());
    assert!(said.contains(&named), "{said}");
    assert_eq!(app.place.events().await.len(), 0);
    course.drop().await.unwrap();
    app.finish().await;
}
