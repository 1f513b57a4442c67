//! Whose a failure is: what fails for one key delays no other, and what fails for all is tried once for all.

use std::time::Duration;

use bson::{Document, doc};
use messaging::{Outbox, Retry};
use testbed::{Nats, eventually, mongo_uri, plant};

use crate::{
    counters::{Counters, OF_A_KEY, OF_PARKING, OF_THE_BROKER},
    log::Log,
    rights::Configured,
    toy::{Place, Toy, event, published, unsent},
};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(3600);
const DENIED: &str = "\"*.counter.updated.bad\"";

#[tokio::test]
async fn a_publication_that_is_not_answered_delays_no_other_key() {
    let nats = Configured::with_users(&[("a", DENIED)]).await;
    let mut place = nats.place("a");
    // A denied one is not answered: it ends with the test.
    place.timing.ack_timeout = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    plant(&toy.place, [event("bad", 0, doc! {})]).await;
    for _ in 0..5 {
        toy.create().await;
        unsent(&toy, 1).await;
    }
    assert!(toy.place.parked().await.is_empty());
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn a_key_that_may_not_be_published_waits_unparked_until_it_may() {
    let nats = Configured::with_users(&[("a", DENIED)]).await;
    let counters = Counters::start();
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(200);
    place.timing.longest_key_retry = Duration::from_millis(200);
    let toy = Toy::start_at(place).await;
    plant(
        &toy.place,
        (0..2).map(|version| event("bad", version, doc! {})),
    )
    .await;
    eventually("it fails several times", async || {
        counters.count(OF_A_KEY) >= 3
    })
    .await;
    let other = toy.create().await;
    unsent(&toy, 2).await;
    assert_eq!(published(&toy.place, &other).await, [0]);
    assert!(toy.place.parked().await.is_empty());
    assert_eq!(counters.count(OF_THE_BROKER), 0);
    nats.change_users(&[("a", "")]).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "bad").await, [0, 1]);
    toy.finish().await;
}

#[tokio::test]
async fn when_the_broker_is_back_no_key_waits_any_longer() {
    let mut nats = Configured::with_users(&[("a", DENIED)]).await;
    let counters = Counters::start();
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(200);
    place.timing.first_retry = NEVER;
    place.timing.longest_key_retry = NEVER;
    // Of the broker.
    place.timing.longest_retry = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    plant(&toy.place, [event("bad", 0, doc! {})]).await;
    eventually("it fails", async || counters.count(OF_A_KEY) == 1).await;
    nats.change_users(&[("a", "")]).await;
    nats.nats.kill();
    nats.nats.start().await;
    toy.place.drained().await;
    toy.finish().await;
}

#[tokio::test]
async fn what_was_sent_over_a_connection_that_is_lost_is_sent_again_at_once() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    // Nobody acknowledges it any more.
    place.timing.ack_timeout = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    nats.signal("-STOP");
    let key = toy.create().await;
    nats.kill();
    nats.start().await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &key).await, [0]);
    toy.finish().await;
}

#[tokio::test]
async fn a_key_in_hand_whose_next_event_comes_behind_a_whole_turn_is_not_forgotten() {
    const TURN: i64 = 64;
    let mut place = Place::new();
    place.timing.mark_delay = Duration::from_secs(2);
    place.timing.safety_interval = NEVER;
    let toy = Toy::start_at(place).await;
    plant(
        &toy.place,
        (0..TURN).map(|version| event("a", version, doc! {})),
    )
    .await;
    eventually("a whole turn is published", async || {
        published(&toy.place, "a").await.len() == TURN as usize
    })
    .await;
    plant(&toy.place, [event("a", TURN, doc! {})]).await;
    toy.place.drained().await;
    toy.finish().await;
}

#[tokio::test]
async fn an_array_is_no_key() {
    let place = Place::new();
    let (db, _) = place.prepared().await;
    let events = db.collection::<Document>("events");
    for name in ["key", "version"] {
        let mut with_array = event("a", 0, doc! {});
        with_array.insert(name, vec![1, 2]);
        let refused = events.insert_one(with_array).await.unwrap_err();
        assert!(refused.to_string().contains("121"), "{refused}");
    }
    place.remove().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_marked_is_published_once_and_keeps_no_other_from_its_mark() {
    let mut place = Place::new();
    place.timing.longest_key_retry = Duration::from_millis(200);
    let toy = Toy::start_at(place).await;
    let database = toy.place.database().await;
    let validator = doc! { "$nor": [{ "key": "bad", "sent": "YES" }] };
    let change = doc! { "collMod": "events", "validator": validator };
    database.run_command(change).await.unwrap();
    let others = (0..20).map(|number| event(&format!("good-{number}"), 0, doc! {}));
    plant(
        &toy.place,
        [event("bad", 0, doc! {})].into_iter().chain(others),
    )
    .await;
    unsent(&toy, 1).await;
    toy.create().await;
    unsent(&toy, 1).await;
    let any = doc! { "collMod": "events", "validator": {} };
    database.run_command(any).await.unwrap();
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "bad").await, [0]);
    toy.finish().await;
}

#[tokio::test]
async fn what_the_database_refuses_again_and_again_is_told_once() {
    const TRIED: [&str; 2] = ["outbox_published_total", OF_PARKING];
    let rules = [
        ("events", doc! { "sent": "YES" }, "cannot mark the events"),
        ("parked", doc! { "version": 0 }, "cannot park an event"),
    ];
    for ((collection, refused, failure), tried) in rules.into_iter().zip(TRIED) {
        let (log, _guard) = Log::capture();
        let counters = Counters::start();
        let mut place = Place::new();
        place.timing.longest_key_retry = Duration::from_millis(50);
        let toy = Toy::start_at(place).await;
        let database = toy.place.database().await;
        let change = doc! { "collMod": collection, "validator": { "$nor": [refused] } };
        database.run_command(change).await.unwrap();
        // No subject can be made of the other.
        let key = if collection == "events" { "a" } else { "a b" };
        plant(&toy.place, [event(key, 0, doc! {})]).await;
        eventually("it is tried again and again", async || {
            counters.count(tried) >= 40
        })
        .await;
        let lines = log.lines_with("WARN");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(failure), "{lines:?}");
        assert!(log.lines_with("it is parked").is_empty());
        let any = doc! { "collMod": collection, "validator": {} };
        database.run_command(any).await.unwrap();
        if collection == "events" {
            toy.place.drained().await;
        } else {
            log.told("it is parked").await;
        }
        toy.stop().await.remove().await;
    }
}

#[tokio::test]
async fn what_a_server_allows_since_it_was_reloaded_counts_when_it_is_tried_again() {
    let nats = Configured::start("max_payload: 2000").await;
    let toy = Toy::start_at(Place::at(&mongo_uri(), &nats.nats.url())).await;
    let outbox = Outbox::new(&toy.place.db().await);
    let sized = |key: &str, bytes: usize| event(key, 0, doc! { "t": "x".repeat(bytes) });
    plant(&toy.place, [sized("large", 5_000), sized("larger", 15_000)]).await;
    for (left, allowed) in [(2, 10_000), (1, 20_000)] {
        unsent(&toy, left).await;
        eventually("all of that is parked", async || {
            outbox.status().await.unwrap().parked == left
        })
        .await;
        nats.change(&format!("max_payload: {allowed}")).await;
        outbox.retry(Retry::AllParked).await.unwrap();
    }
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "larger").await, [0]);
    toy.finish().await;
}
