//! What is waited for and what is not: one key for another, a server that hangs, a stream of somebody else's.

use std::{net::ToSocketAddrs, time::Duration};

use async_nats::jetstream::{self, stream};
use bson::{Document, doc};
use messaging::Timing;
use testbed::{
    Mongo, at_the_next, fail, free_port, has_entered, mongo_uri, nats_url, plant,
    proxy::{Callers, Link, LinkFault, Mode, serve},
};
use tokio::net::TcpListener;

use crate::{
    log::Log,
    toy::{Place, Toy, event},
};

/// Longer than any test lasts.
const NEVER_MS: i32 = 3_600_000;

/// Passes connections on to NATS.
pub(crate) async fn linked_to_nats() -> (String, Link) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let address = nats_url().replace("nats://", "");
    let server = address.to_socket_addrs().unwrap().next().unwrap();
    let link = Link::default();
    tokio::spawn(serve(listener, server, Callers::One(link.clone())));
    (url, link)
}

#[tokio::test]
async fn different_keys_do_not_wait_for_each_others_acknowledgements() {
    const MORE_THAN_ONE_AFTER_THE_OTHER_ALLOW: i64 = 150;
    let (url, link) = linked_to_nats().await;
    link.begin(&LinkFault::new(Mode::Slow(Duration::from_millis(100))));
    let mut place = Place::at(&mongo_uri(), &url);
    let toy = Toy::start_at(place.clone()).await;
    let events = (0..MORE_THAN_ONE_AFTER_THE_OTHER_ALLOW)
        .map(|number| event(&format!("key-{number}"), 0, doc! {}));
    plant(&toy.place, events).await;
    toy.place.drained().await;
    toy.stop().await;
    place.nats_url = nats_url();
    place.remove().await;
}

#[tokio::test]
async fn of_several_nats_servers_one_that_answers_is_enough() {
    let urls = format!("nats://127.0.0.1:{},{}", free_port(), nats_url());
    let mut place = Place::at(&mongo_uri(), &urls);
    let toy = Toy::start_at(place.clone()).await;
    toy.create().await;
    toy.place.drained().await;
    toy.stop().await;
    place.nats_url = nats_url();
    place.remove().await;
}

#[tokio::test]
async fn a_stream_that_does_not_take_our_subjects_is_told_of_and_nothing_is_published() {
    let place = Place::new();
    let nats = jetstream::new(async_nats::connect(nats_url()).await.unwrap());
    let other = stream::Config {
        name: place.name.clone(),
        subjects: vec![format!("{}.other.>", place.name)],
        ..stream::Config::default()
    };
    nats.create_stream(other).await.unwrap();
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    let told = log.told("the stream cannot be used").await;
    assert!(told.contains("takes the subjects"), "{told}");
    toy.stop().await.remove().await;
}

/// A server of the test's own, because a fail point holds for all of a server.
async fn own_mongo(adjust: impl FnOnce(&mut Timing)) -> (Mongo, Place) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    // What hangs never ends.
    place.drain = Duration::from_secs(1);
    adjust(&mut place.timing);
    (mongo, place)
}

pub(crate) fn hangs() -> Document {
    doc! { "blockConnection": true, "blockTimeMS": NEVER_MS }
}

#[tokio::test]
async fn a_mark_that_hangs_is_given_up_and_its_events_are_marked_later() {
    let (_mongo, place) = own_mongo(|timing| timing.mark_limit = Duration::from_millis(300)).await;
    let toy = Toy::start_at(place).await;
    let mut mark = hangs();
    mark.insert("namespace", format!("{}.events", toy.place.name));
    at_the_next(&toy.place, "update", mark).await;
    toy.create().await;
    toy.place.drained().await;
    assert_eq!(toy.place.messages().await.len(), 1);
    toy.finish().await;
}

#[tokio::test]
async fn a_change_stream_that_failed_is_opened_anew_after_a_pause_of_its_own() {
    let (_mongo, place) = own_mongo(|timing| {
        timing.watch_again = Duration::from_millis(10);
        timing.watch_silence_limit = Duration::from_secs(3600);
        timing.safety_interval = Duration::from_secs(3600);
    })
    .await;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    // Each failure wakes the publisher, so the last one has to be over.
    fail(
        &toy.place,
        doc! { "times": 5 },
        "getMore",
        doc! { "errorCode": 286 },
    )
    .await;
    // What the stream asked before is answered now.
    toy.create().await;
    has_entered(&toy.place, 5).await;
    toy.create().await;
    toy.place.drained().await;
    toy.finish().await;
}
