//! What a stop waits for, and for how long.

use std::time::Duration;

use bson::{Document, doc};
use testbed::{
    DEADLINE, Mongo, Nats, at_the_next, eventually, fail, has_entered, mongo_uri, nats_url, plant,
    proxy::{LinkFault, Mode},
};

use crate::{
    log::Log,
    rest::busy,
    rights::Configured,
    toy::{Place, Toy, event, published, unsent},
    waits::linked_to_nats,
};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(200);

async fn stops(mut toy: Toy) -> Place {
    toy.place.drain = NEVER;
    let stopped = tokio::time::timeout(DEADLINE, toy.stop()).await;
    stopped.expect("it stops")
}

async fn with_own_mongo() -> (Mongo, Place) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    (mongo, place)
}

fn of_events(place: &Place, mut what: Document) -> Document {
    what.insert("namespace", format!("{}.events", place.name));
    what
}

#[tokio::test]
async fn a_stop_with_nothing_left_to_do_ends_at_once() {
    let mut place = Place::new();
    place.timing.last_sweep = NEVER;
    place.timing.mark_limit = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    stops(toy).await.remove().await;
}

#[tokio::test]
async fn a_stop_waits_for_an_acknowledgement_no_longer_than_a_last_sweep_takes() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.last_sweep = SHORT;
    place.timing.mark_limit = NEVER;
    place.timing.ack_timeout = NEVER;
    place.timing.nats_ping = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    nats.signal("-STOP");
    toy.create().await;
    let place = stops(toy).await;
    nats.signal("-CONT");
    place.remove().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_stream_that_does_not_answer() {
    let nats = Configured::with_users(&[("a", "")]).await;
    let mut place = nats.place("a");
    place.timing.ack_timeout = SHORT;
    place.timing.last_sweep = NEVER;
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    nats.change_users(&[("a", "\">\"")]).await;
    toy.create().await;
    log.told("the stream cannot be used").await;
    let place = stops(toy).await;
    place.database().await.drop().await.unwrap();
}

/// Else the next holder would publish again what is published, and park again what is parked.
#[tokio::test]
async fn the_lease_is_handed_over_when_what_is_published_is_marked_and_what_is_not_is_parked() {
    for (writes, is_readable) in [("update", true), ("aggregate", false)] {
        let (_mongo, mut place) = with_own_mongo().await;
        place.timing.last_sweep = Duration::from_millis(100);
        let toy = Toy::start_at(place.clone()).await;
        toy.create().await;
        place.drained().await;
        let slow = doc! { "blockConnection": true, "blockTimeMS": 1_500 };
        at_the_next(&place, writes, of_events(&place, slow)).await;
        let mut last = event("a", 0, doc! {});
        if !is_readable {
            last.insert("data", "text");
        }
        plant(&place, [last]).await;
        let leases = place.database().await.collection::<Document>("leases");
        let handed_over = doc! { "_id": "publisher", "$expr": { "$lte": ["$expiresAt", "$$NOW"] } };
        let written = async {
            eventually("the lease is handed over", async || {
                leases.count_documents(handed_over.clone()).await.unwrap() == 1
            })
            .await;
            let unsent = doc! { "sent": "NO" };
            let events = place.database().await.collection::<Document>("events");
            let unsent = events.count_documents(unsent).await.unwrap();
            assert_eq!(unsent, place.parked().await.len() as u64);
        };
        let (share, ()) = tokio::join!(busy(stops(toy)), written);
        assert!(share < 0.5, "it waits busily: {share}");
        place.remove().await;
    }
}

#[tokio::test]
async fn what_waits_for_a_mark_is_published_before_a_stop() {
    let (_mongo, mut place) = with_own_mongo().await;
    place.timing.last_sweep = Duration::from_secs(10);
    let toy = Toy::start_at(place.clone()).await;
    toy.create().await;
    place.drained().await;
    let slow = doc! { "blockConnection": true, "blockTimeMS": 1_000 };
    at_the_next(&place, "update", of_events(&place, slow)).await;
    let key = toy.create().await;
    has_entered(&place, 1).await;
    toy.update(&key).await;
    stops(toy).await;
    assert_eq!(published(&place, &key).await, [0, 1]);
    place.drained().await;
    place.remove().await;
}

#[tokio::test]
async fn what_waits_for_an_acknowledgement_is_published_before_a_stop() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.last_sweep = Duration::from_secs(10);
    let toy = Toy::start_at(place.clone()).await;
    toy.create().await;
    place.drained().await;
    nats.signal("-STOP");
    let key = toy.create().await;
    unsent(&toy, 1).await;
    toy.update(&key).await;
    unsent(&toy, 2).await;
    let goes_on = async { nats.signal("-CONT") };
    tokio::join!(stops(toy), goes_on);
    assert_eq!(published(&place, &key).await, [0, 1]);
    place.drained().await;
    place.remove().await;
}

#[tokio::test]
async fn what_is_in_flight_when_the_last_look_ends_is_waited_for_as_long_again() {
    let (url, link) = linked_to_nats().await;
    let mut place = Place::at(&mongo_uri(), &url);
    place.timing.last_sweep = Duration::from_millis(2_300);
    place.timing.ack_timeout = NEVER;
    let toy = Toy::start_at(place.clone()).await;
    toy.create().await;
    place.drained().await;
    // There and back.
    link.begin(&LinkFault::new(Mode::Slow(Duration::from_millis(1_300))));
    toy.create().await;
    stops(toy).await;
    place.drained().await;
    place.nats_url = nats_url();
    place.remove().await;
}

#[tokio::test]
async fn a_stop_gives_up_a_mark_that_fails_again_and_again() {
    const SHUTDOWN_IN_PROGRESS: i32 = 91;
    let (_mongo, mut place) = with_own_mongo().await;
    place.timing.last_sweep = SHORT;
    place.timing.mark_limit = SHORT;
    let toy = Toy::start_at(place).await;
    let fails = of_events(&toy.place, doc! { "errorCode": SHUTDOWN_IN_PROGRESS });
    fail(&toy.place, "alwaysOn", "update", fails).await;
    toy.create().await;
    let place = stops(toy).await;
    assert_eq!(place.events().await[0].get_str("sent").unwrap(), "NO");
    place.remove().await;
}
