//! What the outbox does by itself after a while. The times are short here, so that nothing else comes first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bson::{DateTime, Document, doc};
use messaging::Timing;
use testbed::{
    DEADLINE, Mongo, Nats, at_the_next, eventually, fail, has_entered, mongo_uri, nats_url, plant,
};
use tokio::net::TcpListener;

use crate::toy::{Place, Toy, event};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_event_that_no_change_stream_told_of_is_published_by_the_next_look() {
    let mut place = Place::new();
    place.timing.safety_interval = Duration::from_millis(300);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    let events = toy.place.database().await.collection::<Document>("events");
    let mut unsent = events.find_one(doc! {}).await.unwrap().unwrap();
    unsent.insert("sent", "NO");
    // The change stream tells of inserts and updates; this is neither.
    events.replace_one(doc! {}, unsent).await.unwrap();
    toy.place.drained().await;
    assert_eq!(toy.place.messages().await.len(), 1);
    toy.finish().await;
}

#[tokio::test]
async fn a_change_stream_that_falls_silent_is_opened_anew() {
    let (_mongo, toy) = with_own_mongo(|timing| {
        // A server that lives answers every second.
        timing.watch_silence_limit = Duration::from_secs(2);
        timing.safety_interval = NEVER;
    })
    .await;
    toy.create().await;
    toy.place.drained().await;
    let mut silent = doc! { "blockConnection": true, "blockTimeMS": NEVER.as_millis() as i32 };
    silent.insert("namespace", format!("{}.events", toy.place.name));
    at_the_next(&toy.place, "getMore", silent).await;
    has_entered(&toy.place, 1).await;
    toy.create().await;
    toy.place.drained().await;
    toy.finish().await;
}

/// A server of the test's own, because a fail point holds for all of a server; and the service there, with other times.
async fn with_own_mongo(adjust: impl FnOnce(&mut Timing)) -> (Mongo, Toy) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    adjust(&mut place.timing);
    (mongo, Toy::start_at(place).await)
}

/// For ever, and of this collection alone: the server itself reads others in the name of its client.
fn held(place: &Place, collection: &str) -> Document {
    let namespace = format!("{}.{collection}", place.name);
    doc! { "namespace": namespace, "blockConnection": true, "blockTimeMS": NEVER.as_millis() as i32 }
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
    place.timing.lease_term = Duration::from_secs(3);
    place.timing.lease_renewal = Duration::from_millis(700);
    let toy = Toy::start_at(place).await;
    eventually("it publishes", async || lease(&toy.place).await.is_some()).await;
    let (first, fence) = lease(&toy.place).await.unwrap();
    let two_terms_later = first.timestamp_millis() + 2 * 3_000;
    let leases = toy.place.database().await.collection::<Document>("leases");
    let expired = doc! { "_id": "publisher", "$expr": { "$lte": ["$expiresAt", "$$NOW"] } };
    eventually("the lease is renewed", async || {
        let expired = leases.count_documents(expired.clone()).await.unwrap();
        assert_eq!(expired, 0, "by the server's clock");
        let (expires, _) = lease(&toy.place).await.unwrap();
        expires.timestamp_millis() > two_terms_later
    })
    .await;
    assert_eq!(lease(&toy.place).await.unwrap().1, fence);
    toy.finish().await;
}

/// An instance that can't renew its lease stops the margin before another can have it. Events come all the while.
#[tokio::test]
async fn a_holder_that_cannot_renew_stops_before_its_lease_expires() {
    let margin = Duration::from_millis(1_500);
    let (_mongo, toy) = with_own_mongo(|timing| timing.lease_margin = margin).await;
    toy.create().await;
    toy.place.drained().await;
    fail(
        &toy.place,
        "alwaysOn",
        "findAndModify",
        doc! { "errorCode": 2 },
    )
    .await;
    has_entered(&toy.place, 1).await;
    let (expires, _) = lease(&toy.place).await.unwrap();
    let after_the_lease = async || DateTime::now() > expires;
    let mut version = 0;
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    while !after_the_lease().await {
        pause.tick().await;
        plant(&toy.place, [event("steady", version, doc! {})]).await;
        version += 1;
    }
    let messages = toy.place.messages().await;
    let last = messages.last().unwrap().time.unix_timestamp_nanos() / 1_000_000;
    assert!(messages.len() > 1, "it published until then");
    // A publication that was begun in time takes its time.
    assert!(
        last <= i128::from(expires.timestamp_millis()) - margin.as_millis() as i128 / 2,
        "the last message came {} ms before the lease's end",
        i128::from(expires.timestamp_millis()) - last,
    );
    fail(&toy.place, "off", "findAndModify", doc! {}).await;
    toy.finish().await;
}

#[tokio::test]
async fn a_connection_to_nats_that_is_half_open_is_noticed() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.nats_ping = Duration::from_millis(200);
    let toy = Toy::start_at(place).await;
    eventually("connected", async || toy.is_connected_to_nats()).await;
    nats.signal("-STOP");
    eventually("it is noticed", async || !toy.is_connected_to_nats()).await;
    nats.signal("-CONT");
    toy.create().await;
    toy.finish().await;
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
    place.timing.longest_reconnect = Duration::from_millis(50);
    let toy = Toy::start_at(place).await;
    eventually("it goes on trying", async || {
        attempts.load(Ordering::Relaxed) >= MORE_THAN_GROWING_PAUSES_ALLOW
    })
    .await;
    let place = toy.stop().await;
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn a_sweep_that_does_not_move_is_given_up_and_the_next_one_publishes() {
    let (_mongo, toy) =
        with_own_mongo(|timing| timing.sweep_stalled_after = Duration::from_millis(500)).await;
    toy.create().await;
    toy.place.drained().await;
    at_the_next(&toy.place, "find", held(&toy.place, "events")).await;
    toy.create().await;
    toy.place.drained().await;
    assert_eq!(toy.place.messages().await.len(), 2);
    toy.finish().await;
}

#[tokio::test]
async fn events_of_the_same_moment_are_marked_by_one_write() {
    let mut place = Place::new();
    place.timing.mark_delay = Duration::from_secs(2);
    let toy = Toy::start_at(place).await;
    let database = toy.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    // One after the other: what is published in one sweep is marked by one write anyway.
    for published in 1..=3 {
        toy.create().await;
        eventually("the event is published", async || {
            toy.place.messages().await.len() == published
        })
        .await;
    }
    toy.place.drained().await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let marks = database
        .collection::<Document>("system.profile")
        .count_documents(doc! { "op": "update", "ns": format!("{}.events", toy.place.name) })
        .await
        .unwrap();
    assert_eq!(marks, 1);
    toy.finish().await;
}

#[tokio::test]
async fn the_pauses_after_failures_stop_growing() {
    const MORE_THAN_DOUBLED_PAUSES_ALLOW: i32 = 20;
    let (_mongo, toy) = with_own_mongo(|timing| {
        timing.first_retry = Duration::from_millis(10);
        timing.longest_key_retry = Duration::from_millis(100);
    })
    .await;
    fail(&toy.place, "alwaysOn", "update", doc! { "errorCode": 2 }).await;
    toy.create().await;
    has_entered(&toy.place, MORE_THAN_DOUBLED_PAUSES_ALLOW).await;
    fail(&toy.place, "off", "update", doc! {}).await;
    toy.finish().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_long_backlog() {
    const EVENTS: i64 = 30_000;
    let mut place = Place::new();
    place.timing.last_sweep = Duration::from_millis(100);
    let backlog = (0..EVENTS).map(|number| event(&format!("key-{number}"), 0, doc! {}));
    plant(&place, backlog).await;
    let toy = Toy::begin_at(place).await;
    let events = toy.place.database().await.collection::<Document>("events");
    let is_begun = async || {
        events
            .find_one(doc! { "sent": "YES" })
            .await
            .unwrap()
            .is_some()
    };
    eventually("the first of them are published", is_begun).await;
    let place = toy.stop().await;
    let unsent = events.count_documents(doc! { "sent": "NO" }).await.unwrap();
    assert!(unsent > 0, "all {EVENTS} events were published first");
    place.remove().await;
}

#[tokio::test]
async fn two_sweeps_begin_no_sooner_after_each_other_than_they_should() {
    let pause = Duration::from_secs(2);
    let mut place = Place::new();
    (place.timing.sweep_pause, place.timing.longest_sweep_pause) = (pause, pause);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    // The sweep of the first has begun before its event was acknowledged.
    toy.create().await;
    toy.place.drained().await;
    let mut sent: Vec<DateTime> = toy.place.events().await.iter().map(sent_at).collect();
    sent.sort();
    let apart = sent[1].timestamp_millis() - sent[0].timestamp_millis();
    assert!(apart >= 1_000, "{apart} ms between two marks");
    toy.finish().await;
}

fn sent_at(event: &Document) -> DateTime {
    *event.get_datetime("sentAt").unwrap()
}

#[tokio::test]
async fn a_stop_without_nats_waits_for_no_acknowledgement() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.last_sweep = NEVER;
    place.timing.ack_timeout = NEVER;
    place.timing.unconnected_limit = NEVER;
    place.drain = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    nats.kill();
    toy.create().await;
    eventually("it is not connected", async || !toy.is_connected_to_nats()).await;
    let stopped = tokio::time::timeout(DEADLINE, toy.stop()).await;
    nats.start().await;
    stopped.expect("it stops").remove().await;
}
