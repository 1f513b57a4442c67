//! What a stop waits for, and for how long.

use std::time::Duration;

use bson::{Document, doc};
use testbed::{DEADLINE, Mongo, Nats, at_the_next, eventually, fail, mongo_uri, nats_url};

use crate::{
    log::Log,
    rest::busy,
    rights::Configured,
    toy::{Place, Toy},
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

/// Else the next holder would publish again what is published.
#[tokio::test]
async fn the_lease_is_handed_over_when_what_is_published_is_marked() {
    let (_mongo, mut place) = with_own_mongo().await;
    place.timing.last_sweep = Duration::from_millis(100);
    let toy = Toy::start_at(place.clone()).await;
    toy.create().await;
    place.drained().await;
    let slow = doc! { "blockConnection": true, "blockTimeMS": 1_500 };
    at_the_next(&place, "update", of_events(&place, slow)).await;
    toy.create().await;
    let leases = place.database().await.collection::<Document>("leases");
    let handed_over = doc! { "_id": "publisher", "$expr": { "$lte": ["$expiresAt", "$$NOW"] } };
    let marked = async {
        eventually("the lease is handed over", async || {
            leases.count_documents(handed_over.clone()).await.unwrap() == 1
        })
        .await;
        let events = place.events().await;
        assert!(events.iter().all(|it| it.get_str("sent").unwrap() == "YES"));
    };
    let (share, ()) = tokio::join!(busy(stops(toy)), marked);
    assert!(share < 0.5, "it waits busily: {share}");
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
