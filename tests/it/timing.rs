//! What the service does by itself after a while. The times are short here, so that nothing else comes first.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use reqwest::Method;
use serde_json::json;
use service::Timing;
use testbed::{Mongo, nats_url};

use crate::{
    harness::{Place, TestApp, token},
    idempotency::{at_the_next, fail},
};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(3600);

/// One line of the pretty debug output of [`Timing`] a time, with the name of the part that it belongs to.
fn defaults() -> BTreeSet<String> {
    let mut part = String::new();
    let mut times = BTreeSet::new();
    for line in format!("{:#?}", Timing::default()).lines() {
        let Some((name, value)) = line.trim().trim_end_matches(',').split_once(": ") else {
            part.clear();
            continue;
        };
        if value.ends_with('{') {
            part = format!("{name}.");
        } else {
            times.insert(format!("`{part}{name}` | {value}"));
        }
    }
    times
}

#[test]
fn every_default_time_is_documented_and_every_documented_time_is_the_default() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guarantees.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## Times\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let (name, time) = (cells.next().unwrap(), cells.next().unwrap());
            format!("`{name} | {time}")
        })
        .collect();
    assert_eq!(documented, defaults());
}

/// A server of the test's own, because a fail point holds for all of a server; and the service there, with other times.
async fn with_own_mongo(adjust: impl FnOnce(&mut Timing)) -> (Mongo, TestApp) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    adjust(&mut place.timing);
    (mongo, TestApp::start_at(place).await)
}

/// For ever, and of this collection alone: the server itself reads others in the name of its client.
fn held(place: &Place, collection: &str) -> Document {
    let namespace = format!("{}.{collection}", place.name);
    doc! { "namespace": namespace, "blockConnection": true, "blockTimeMS": NEVER.as_millis() as i32 }
}

#[tokio::test]
async fn a_request_whose_database_does_not_answer_is_503_before_its_client_gives_up() {
    let (_mongo, app) = with_own_mongo(|timing| {
        timing.db.read_limit = Duration::from_millis(300);
        // It is this limit that answers, not the request's.
        timing.http.work = NEVER;
        // The read that is held never ends.
        timing.drain = Duration::from_secs(1);
    })
    .await;
    let id = app.create().await;
    app.place.drained().await;
    at_the_next(&app.place, "find", held(&app.place, "tickets")).await;
    let answer = app.get(&format!("/api/tickets/{id}")).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "2");
    app.finish().await;
}

#[tokio::test]
async fn a_transaction_that_keeps_conflicting_is_given_up_when_its_attempts_end() {
    let (_mongo, app) = with_own_mongo(|timing| {
        timing.db.attempts_end = Duration::from_secs(1);
    })
    .await;
    let conflict = doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    fail(&app.place, "alwaysOn", "insert", conflict).await;
    let began = Instant::now();
    let request = app.request(Method::POST, "/api/tickets");
    let answer = request
        .bearer_auth(token("alice"))
        .json(&json!({ "title": "concert", "price": 1 }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert!(began.elapsed() < Timing::default().http.work);
    fail(&app.place, "off", "insert", doc! {}).await;
    app.finish().await;
}
