//! What the outbox does by itself after a while. The times are short here, so that nothing else comes first.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use service::Timing;
use testbed::{DEADLINE, Mongo, Nats, eventually, mongo_uri, nats_url};
use tokio::net::TcpListener;

use crate::{
    harness::{Place, TestApp, token},
    idempotency::{at_the_next, fail},
    operators::{event, plant},
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

#[tokio::test]
async fn an_event_that_no_change_stream_told_of_is_published_by_the_next_look() {
    let mut place = Place::new();
    place.timing.outbox.safety_interval = Duration::from_millis(300);
    let app = TestApp::start_at(place).await;
    app.create().await;
    app.place.drained().await;
    let events = app.place.database().await.collection::<Document>("events");
    let mut unsent = events.find_one(doc! {}).await.unwrap().unwrap();
    unsent.insert("sent", "NO");
    // The change stream tells of inserts and updates; this is neither.
    events.replace_one(doc! {}, unsent).await.unwrap();
    app.place.drained().await;
    assert_eq!(app.place.messages().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_change_stream_that_falls_silent_is_opened_anew() {
    let (_mongo, app) = with_own_mongo(|timing| {
        // A server that lives answers every second.
        timing.outbox.watch_silence_limit = Duration::from_secs(2);
        timing.outbox.safety_interval = NEVER;
    })
    .await;
    app.create().await;
    app.place.drained().await;
    let silent = doc! { "blockConnection": true, "blockTimeMS": NEVER.as_millis() as i32 };
    at_the_next(&app.place, "getMore", silent).await;
    has_entered(&app.place, 1).await;
    app.create().await;
    app.place.drained().await;
    app.finish().await;
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

/// Waits until a fail point was met so many times.
async fn has_entered(place: &Place, times: i32) {
    let admin = place.database().await.client().database("admin");
    let entered =
        doc! { "waitForFailPoint": "failCommand", "timesEntered": times, "maxTimeMS": 15_000 };
    admin.run_command(entered).await.unwrap();
}

/// When the server gives the lease to another, and the fence.
async fn lease(place: &Place) -> Option<(DateTime, i64)> {
    let leases = place.database().await.collection::<Document>("leases");
    let lease = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
    lease.map(|lease| {
        let expires = *lease.get_datetime("expiresAt").unwrap();
        (expires, lease.get_i64("fence").unwrap())
    })
}

#[tokio::test]
async fn the_holder_renews_its_lease_before_it_expires() {
    let mut place = Place::new();
    place.timing.outbox.lease_term = Duration::from_secs(2);
    place.timing.outbox.lease_renewal = Duration::from_millis(600);
    let app = TestApp::start_at(place).await;
    eventually("it publishes", async || lease(&app.place).await.is_some()).await;
    let (first, fence) = lease(&app.place).await.unwrap();
    let two_terms_later = first.timestamp_millis() + 2 * 2_000;
    eventually("the lease is renewed", async || {
        let (expires, _) = lease(&app.place).await.unwrap();
        expires.timestamp_millis() > two_terms_later
    })
    .await;
    assert_eq!(lease(&app.place).await.unwrap().1, fence);
    app.finish().await;
}

/// An instance that can't renew its lease stops the margin before another can have it. Events come all the while.
#[tokio::test]
async fn a_holder_that_cannot_renew_stops_before_its_lease_expires() {
    let margin = Duration::from_millis(1_500);
    let (_mongo, app) = with_own_mongo(|timing| timing.outbox.lease_margin = margin).await;
    app.create().await;
    app.place.drained().await;
    fail(
        &app.place,
        "alwaysOn",
        "findAndModify",
        doc! { "errorCode": 2 },
    )
    .await;
    has_entered(&app.place, 1).await;
    let (expires, _) = lease(&app.place).await.unwrap();
    let after_the_lease = async || DateTime::now() > expires;
    let mut version = 0;
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    while !after_the_lease().await {
        pause.tick().await;
        plant(&app.place, [event("steady", version, doc! {})]).await;
        version += 1;
    }
    let messages = app.place.messages().await;
    let last = messages.last().unwrap().time.unix_timestamp_nanos() / 1_000_000;
    assert!(messages.len() > 1, "it published until then");
    // A publication that was begun in time takes its time.
    assert!(
        last <= i128::from(expires.timestamp_millis()) - margin.as_millis() as i128 / 2,
        "the last message came {} ms before the lease's end",
        i128::from(expires.timestamp_millis()) - last,
    );
    fail(&app.place, "off", "findAndModify", doc! {}).await;
    app.finish().await;
}

#[tokio::test]
async fn a_connection_to_nats_that_is_half_open_is_noticed() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.outbox.nats_ping = Duration::from_millis(200);
    let app = TestApp::start_at(place).await;
    let told = async || {
        let ready: Value = app.get("/health/ready").await.json().await.unwrap();
        ready["nats"].as_str().unwrap().to_owned()
    };
    eventually("connected", async || told().await == "up").await;
    nats.signal("-STOP");
    eventually("it is noticed", async || told().await == "down").await;
    nats.signal("-CONT");
    app.create().await;
    app.finish().await;
}

#[tokio::test]
async fn the_pauses_between_attempts_to_connect_to_nats_stop_growing() {
    const MORE_THAN_GROWING_PAUSES_ALLOW: usize = 60;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    tokio::spawn(async move {
        while closed.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut place = Place::at(&mongo_uri(), &format!("nats://{address}"));
    place.timing.outbox.longest_reconnect = Duration::from_millis(50);
    let app = TestApp::start_at(place).await;
    eventually("it goes on trying", async || {
        attempts.load(Ordering::Relaxed) >= MORE_THAN_GROWING_PAUSES_ALLOW
    })
    .await;
    let place = app.stop().await;
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn a_sweep_that_does_not_move_is_given_up_and_the_next_one_publishes() {
    let (_mongo, app) =
        with_own_mongo(|timing| timing.outbox.sweep_stalled_after = Duration::from_millis(500))
            .await;
    app.create().await;
    app.place.drained().await;
    at_the_next(&app.place, "find", held(&app.place, "events")).await;
    app.create().await;
    app.place.drained().await;
    assert_eq!(app.place.messages().await.len(), 2);
    app.finish().await;
}

#[tokio::test]
async fn events_of_the_same_moment_are_marked_by_one_write() {
    let mut place = Place::new();
    place.timing.outbox.mark_delay = Duration::from_secs(2);
    let app = TestApp::start_at(place).await;
    let database = app.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    // One after the other: what is published in one sweep is marked by one write anyway.
    for published in 1..=3 {
        app.create().await;
        eventually("the event is published", async || {
            app.place.messages().await.len() == published
        })
        .await;
    }
    app.place.drained().await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let marks = database
        .collection::<Document>("system.profile")
        .count_documents(doc! { "op": "update", "ns": format!("{}.events", app.place.name) })
        .await
        .unwrap();
    assert_eq!(marks, 1);
    app.finish().await;
}

#[tokio::test]
async fn the_pauses_after_failures_stop_growing() {
    const MORE_THAN_DOUBLED_PAUSES_ALLOW: i32 = 20;
    let (_mongo, app) = with_own_mongo(|timing| {
        timing.outbox.first_retry = Duration::from_millis(10);
        timing.outbox.longest_retry = Duration::from_millis(100);
    })
    .await;
    fail(&app.place, "alwaysOn", "update", doc! { "errorCode": 2 }).await;
    app.create().await;
    has_entered(&app.place, MORE_THAN_DOUBLED_PAUSES_ALLOW).await;
    fail(&app.place, "off", "update", doc! {}).await;
    app.finish().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_long_backlog() {
    const EVENTS: i64 = 30_000;
    let mut place = Place::new();
    place.timing.outbox.last_sweep = Duration::from_millis(100);
    let backlog = (0..EVENTS).map(|number| event(&format!("key-{number}"), 0, doc! {}));
    plant(&place, backlog).await;
    let app = TestApp::begin_at(place).await;
    let events = app.place.database().await.collection::<Document>("events");
    let is_begun = async || {
        events
            .find_one(doc! { "sent": "YES" })
            .await
            .unwrap()
            .is_some()
    };
    eventually("the first of them are published", is_begun).await;
    let place = app.stop().await;
    let unsent = events.count_documents(doc! { "sent": "NO" }).await.unwrap();
    assert!(unsent > 0, "all {EVENTS} events were published first");
    place.remove().await;
}

#[tokio::test]
async fn a_request_whose_database_does_not_answer_is_503_before_its_client_gives_up() {
    let (_mongo, app) = with_own_mongo(|timing| {
        timing.db.read_limit = Duration::from_millis(300);
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

#[tokio::test]
async fn two_sweeps_begin_no_sooner_after_each_other_than_they_should() {
    let pause = Duration::from_secs(2);
    let mut place = Place::new();
    place.timing.outbox.sweep_pause = pause;
    let app = TestApp::start_at(place).await;
    app.create().await;
    app.place.drained().await;
    // The sweep of the first has begun before its event was acknowledged.
    app.create().await;
    app.place.drained().await;
    let mut sent: Vec<DateTime> = app.place.events().await.iter().map(sent_at).collect();
    sent.sort();
    let apart = sent[1].timestamp_millis() - sent[0].timestamp_millis();
    assert!(apart >= 1_000, "{apart} ms between two marks");
    app.finish().await;
}

fn sent_at(event: &Document) -> DateTime {
    *event.get_datetime("sentAt").unwrap()
}

#[tokio::test]
async fn a_stop_without_nats_waits_for_no_acknowledgement() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.outbox.last_sweep = NEVER;
    place.timing.outbox.ack_timeout = NEVER;
    place.timing.outbox.unconnected_limit = NEVER;
    place.timing.drain = NEVER;
    let app = TestApp::start_at(place).await;
    app.create().await;
    app.place.drained().await;
    nats.kill();
    app.create().await;
    eventually("it is not connected", async || {
        let ready: Value = app.get("/health/ready").await.json().await.unwrap();
        ready["nats"] == "down"
    })
    .await;
    let stopped = tokio::time::timeout(DEADLINE, app.stop()).await;
    nats.start().await;
    stopped.expect("it stops").remove().await;
}
