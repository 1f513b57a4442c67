//! The domain: the contract of the ticket routes, and that ticket and event are saved both or neither.

use std::collections::BTreeSet;

use bson::{Document, doc, oid::ObjectId};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

use testbed::{assert_problem, text};
use web::CHANGES_AT_ONCE;

use crate::harness::{TestApp, token};

#[tokio::test]
async fn a_ticket_is_created_and_read() {
    let app = TestApp::start().await;
    let created = app
        .post(
            "alice",
            json!({ "title": "  concert 🎸 ", "price": 20.50, "userId": "mallory" }),
        )
        .await;
    assert_eq!(created.status(), 201);
    assert_eq!(created.headers()["etag"], "\"0\"");
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let ticket: Value = created.json().await.unwrap();
    let id = text(&ticket["id"]);
    assert_eq!(location, format!("/api/tickets/{id}"));
    let expected = json!({ "id": id, "title": "concert 🎸", "price": 20.5, "userId": "alice", "orderId": null, "version": 0 });
    assert_eq!(ticket, expected);

    let read = app.get(&location).await;
    assert_eq!(read.headers()["etag"], "\"0\"");
    assert_eq!(read.json::<Value>().await.unwrap(), expected);
    for (known, status) in [
        ("\"0\"", 304),
        ("W/\"0\"", 304),
        ("\"7\", \"0\"", 304),
        ("*", 304),
        ("\"1\"", 200),
        // What can't be read is passed over.
        ("no version", 200),
    ] {
        let read = app
            .request(Method::GET, &location)
            .header("if-none-match", known)
            .send()
            .await
            .unwrap();
        assert_eq!(read.status(), status, "{known}");
        assert_eq!(read.headers()["etag"], "\"0\"");
    }
    for unknown in [
        "nonsense",
        "507f1f77bcf86cd799439011",
        "%FF",
        "507f1f77bcf86cd79943901",
    ] {
        assert_eq!(
            app.get(&format!("/api/tickets/{unknown}")).await.status(),
            404,
            "{unknown}"
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn each_write_is_announced_with_the_ticket_as_its_payload_and_the_trace_of_its_request() {
    let app = TestApp::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = app.request(Method::POST, "/api/tickets");
    let request = request.bearer_auth(token("alice"));
    let request = request.header("traceparent", trace);
    let created = request.json(&json!({ "title": "concert", "price": 20.5 }));
    let created: Value = created.send().await.unwrap().json().await.unwrap();
    let id = text(&created["id"]);
    let updated = app
        .put("alice", &id, json!({ "title": "play", "price": 20 }))
        .await;
    let updated: Value = updated.json().await.unwrap();
    app.place.drained().await;
    let messages = app.place.messages().await;
    assert_eq!(messages.len(), 2);
    for (message, (r#type, ticket)) in messages
        .iter()
        .zip([("ticket.created", created), ("ticket.updated", updated)])
    {
        let subject = format!("{}.{type}.{id}", app.place.name);
        assert_eq!(message.subject.as_str(), subject);
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(payload, ticket);
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
        assert_eq!(header("ce-source"), Some("/tickets"));
        let is_traced = r#type == "ticket.created";
        assert_eq!(header("traceparent"), is_traced.then_some(trace));
    }
    let tickets = app.place.database().await.collection::<Document>("tickets");
    let ticket = tickets.find_one(doc! {}).await.unwrap().unwrap();
    let [created, updated] = ["createdAt", "updatedAt"].map(|at| ticket.get_datetime(at).unwrap());
    assert!(created < updated, "{ticket}");
    let events = app.place.events().await;
    let events = events
        .iter()
        .map(|it| it.get_datetime("createdAt").unwrap());
    assert_eq!(events.collect::<Vec<_>>(), [created, updated]);
    app.finish().await;
}

#[tokio::test]
async fn an_update_is_checked_in_the_order_of_the_contract() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let body = json!({ "title": "play", "price": 30 });
    let put = async |user: &str, if_match: &str| {
        let request = app
            .request(Method::PUT, &format!("/api/tickets/{id}"))
            .bearer_auth(token(user));
        request
            .header("if-match", if_match)
            .json(&body)
            .send()
            .await
            .unwrap()
    };
    for nobodys in ["507f1f77bcf86cd799439011", "nonsense"] {
        assert_problem(app.put("alice", nobodys, body.clone()).await, 404).await;
        assert_problem(app.get(&format!("/api/tickets/{nobodys}")).await, 404).await;
    }
    assert_problem(put("bob", "\"7\"").await, 403).await;
    assert_problem(put("alice", "\"7\"").await, 412).await;
    assert_problem(put("alice", "W/\"0\"").await, 412).await;
    assert_eq!(app.place.events().await.len(), 1);

    let tickets = app.place.database().await.collection::<Document>("tickets");
    let by_id = doc! { "_id": ObjectId::parse_str(&id).unwrap() };
    tickets
        .update_one(by_id.clone(), doc! { "$set": { "orderId": "order" } })
        .await
        .unwrap();
    assert_problem(put("bob", "\"0\"").await, 403).await;
    assert_problem(put("alice", "\"7\"").await, 409).await;
    let reserved: Value = app
        .get(&format!("/api/tickets/{id}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&reserved["title"], &reserved["orderId"]),
        (&json!("concert"), &json!("order"))
    );
    assert_eq!(
        app.get("/api/tickets").await.json::<Value>().await.unwrap(),
        json!([])
    );
    tickets
        .update_one(by_id, doc! { "$set": { "orderId": null } })
        .await
        .unwrap();

    assert_eq!(put("alice", "\"7\", \"0\"").await.status(), 200);
    // What it wants is so by now, and nothing would change.
    assert_problem(put("alice", "\"0\"").await, 412).await;
    let updated: Value = app
        .get(&format!("/api/tickets/{id}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&updated["title"], &updated["version"]),
        (&json!("play"), &json!(1))
    );
    app.finish().await;
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_the_version_and_writes_no_event() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let same = app
        .put("alice", &id, json!({ "title": " concert ", "price": 20.5 }))
        .await;
    assert_eq!(
        (
            same.status().as_u16(),
            same.headers()["etag"].to_str().unwrap()
        ),
        (200, "\"0\"")
    );
    assert_eq!(same.json::<Value>().await.unwrap()["version"], 0);
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_is_not_saved_without_its_event_nor_the_event_without_its_ticket() {
    let app = TestApp::start().await;
    let id = app.create().await;
    app.place.drained().await;
    let database = app.place.database().await;
    let counts = async || {
        let count = async |name: &str| {
            database
                .collection::<Document>(name)
                .count_documents(doc! {})
                .await
                .unwrap()
        };
        (count("tickets").await, count("events").await)
    };
    let refuse = async |collection: &str, validator: Document| {
        database
            .run_command(doc! { "collMod": collection, "validator": validator })
            .await
            .unwrap();
    };
    for collection in ["events", "tickets"] {
        refuse(collection, doc! { "impossible": true }).await;
        let created = app
            .post("alice", json!({ "title": "play", "price": 1 }))
            .await;
        assert_eq!(created.status(), 500);
        assert!(!created.text().await.unwrap().contains("validation"));
        assert_eq!(
            app.put("alice", &id, json!({ "title": "play", "price": 1 }))
                .await
                .status(),
            500
        );
        refuse(collection, doc! {}).await;
        assert_eq!(counts().await, (1, 1), "{collection}");
        let unchanged: Value = app
            .get(&format!("/api/tickets/{id}"))
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(unchanged["version"], 0);
    }
    app.finish().await;
}

#[tokio::test]
async fn fifty_updates_as_many_at_once_as_are_taken_all_succeed_with_consecutive_versions() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let updates =
        (1..=50).map(|price| app.put("alice", &id, json!({ "title": "concert", "price": price })));
    let mut versions = BTreeSet::new();
    let updates = stream::iter(updates).buffer_unordered(CHANGES_AT_ONCE);
    for updated in updates.collect::<Vec<_>>().await {
        assert_eq!(updated.status(), 200);
        versions.insert(
            updated.json::<Value>().await.unwrap()["version"]
                .as_i64()
                .unwrap(),
        );
    }
    assert_eq!(versions, (1..=50).collect());
    app.place.drained().await;
    let published: Vec<i64> = app
        .place
        .messages()
        .await
        .iter()
        .map(|message| {
            serde_json::from_slice::<Value>(&message.payload).unwrap()["version"]
                .as_i64()
                .unwrap()
        })
        .collect();
    assert_eq!(published, (0..=50).collect::<Vec<_>>());
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_of_the_last_version_is_409_and_stays_as_it_is() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let tickets = app.place.database().await.collection::<Document>("tickets");
    let last = doc! { "$set": { "version": i64::MAX } };
    tickets.update_one(doc! {}, last).await.unwrap();
    let refused = app.put("alice", &id, json!({ "title": "theatre", "price": 1 }));
    assert_problem(refused.await, 409).await;
    let found = tickets.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(found.get_i64("version").unwrap(), i64::MAX);
    app.finish().await;
}
