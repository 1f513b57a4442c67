//! The AsyncAPI document says what is so: messages of real runs are checked against it.

use std::{collections::BTreeSet, time::Duration};

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{check_message, eventually};

use crate::{
    harness::{Place, TestApp, service, token},
    operators::{TOO_LARGE, event, json as outbox, plant, stream},
    orders::{Order, Orders},
    process::command,
};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn the_committed_asyncapi_document_is_the_programs() {
    let printed = command(&Place::new()).arg("asyncapi").output().unwrap();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/asyncapi.json");
    let committed = std::fs::read_to_string(committed).unwrap();
    assert!(
        String::from_utf8(printed.stdout).unwrap() == committed,
        "make asyncapi writes it anew"
    );
}

/// A service to which all has happened that makes it send a message: six in all.
async fn eventful() -> (Orders, TestApp) {
    // A window that is soon over, for the replay.
    let mut place = Place::new().consuming();
    place.duplicate_window = Duration::from_millis(100);
    let orders = Orders::at(&place).await;
    let app = TestApp::start_at(place).await;
    let id = app.create().await;
    let address = format!("/api/tickets/{id}");
    let traced = app.request(Method::PUT, &address);
    let traced = traced
        .bearer_auth(token("alice"))
        .header("traceparent", TRACE)
        .header("tracestate", "vendor=value")
        .json(&json!({ "title": "play", "price": 19.99 }));
    assert_eq!(traced.send().await.unwrap().status(), 200);
    let mut order = Order::of(&id);
    orders.publish(&mut order, "order.created").await;
    eventually("the ticket is reserved", async || {
        let ticket: Value = app.get(&address).await.json().await.unwrap();
        ticket["orderId"] == order.id.as_str()
    })
    .await;
    orders.publish(&mut order, "order.cancelled").await;
    // An operator gives up what can't be published.
    let other = app.create().await;
    let never = event(&other, 1, doc! { "t": "x".repeat(TOO_LARGE) });
    let never_id = never.get_object_id("_id").unwrap().to_hex();
    plant(&app.place, [never]).await;
    eventually("it is parked", async || {
        !app.place.parked().await.is_empty()
    })
    .await;
    outbox(&app.place, &["skip", &never_id, "--reason", "too large"]).await;
    published(&app, 6).await;
    (orders, app)
}

async fn published(app: &TestApp, messages: usize) {
    eventually("all is published", async || {
        app.place.messages().await.len() == messages
    })
    .await;
}

#[tokio::test]
async fn every_message_of_a_real_run_is_as_the_asyncapi_document_says() {
    let (orders, app) = eventful().await;
    let document: Value = app.get("/asyncapi.json").await.json().await.unwrap();
    assert_eq!(document["components"], service().asyncapi()["components"]);
    // And one that the broker lost is given back.
    let first = app.place.messages().await.remove(0);
    let stream = stream(&app.place).await;
    stream.delete_message(first.sequence).await.unwrap();
    outbox(&app.place, &["replay", "--since", "1h"]).await;
    published(&app, 6).await;

    let prefix = app.place.name.clone();
    let messages = app.place.messages().await;
    let channels = messages
        .iter()
        .map(|message| check_message(&document, "send", &prefix, message));
    let channels: BTreeSet<String> = channels.collect();
    let expected = ["ticket.created", "ticket.skipped", "ticket.updated"];
    assert_eq!(channels, BTreeSet::from(expected.map(str::to_owned)));
    let last = messages.last().unwrap();
    assert!(last.headers.get("outbox-reached").is_some(), "{last:?}");
    let received = orders.messages(&app.place).await;
    let channels = received
        .iter()
        .map(|message| check_message(&document, "receive", &prefix, message));
    let channels: Vec<String> = channels.collect();
    let expected = ["reservations.order.created", "reservations.order.cancelled"];
    assert_eq!(channels, expected);
    orders.remove(&app.place).await;
    app.finish().await;
}

#[tokio::test]
async fn the_page_of_the_events_shows_every_subject_header_and_member() {
    let app = TestApp::start().await;
    let document: Value = app.get("/asyncapi.json").await.json().await.unwrap();
    let page = app.get("/docs/events").await.text().await.unwrap();
    let mut shown = Vec::new();
    for channel in document["channels"].as_object().unwrap().values() {
        shown.push(channel["address"].as_str().unwrap().to_owned());
    }
    for schema in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .values()
    {
        shown.extend(schema["properties"].as_object().unwrap().keys().cloned());
    }
    assert!(shown.len() > 30, "{shown:?}");
    for text in shown {
        assert!(page.contains(&format!("<code>{text}</code>")), "{text}");
    }
    app.finish().await;
}
