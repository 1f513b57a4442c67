//! What the stream refuses for now: for one subject, for some, or for all.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy},
};
use bson::{Document, doc};
use testbed::{eventually, plant, stream};

use crate::{
    counters::{Counters, OF_A_KEY},
    log::Log,
    toy::{Place, Toy, event, published, unsent},
};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(3600);

async fn change_stream(place: &Place, change: impl FnOnce(&mut Config)) {
    let jetstream = jetstream::new(async_nats::connect(&place.nats_url).await.unwrap());
    let mut config = stream(place).await.cached_info().config.clone();
    change(&mut config);
    jetstream.update_stream(&config).await.unwrap();
}

/// The stream takes no more than `most` messages; -1 for any number.
pub(crate) async fn allow(place: &Place, most: i64) {
    change_stream(place, |config| {
        config.max_messages = most;
        config.discard = DiscardPolicy::New;
    })
    .await;
}

#[tokio::test]
async fn a_subject_that_is_full_delays_its_own_key_only() {
    let mut place = Place::new();
    // Whoever waited for the key would wait for ever.
    place.timing.first_retry = NEVER;
    place.timing.longest_key_retry = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    change_stream(&toy.place, |config| {
        config.max_messages_per_subject = 1;
        config.discard = DiscardPolicy::New;
        config.discard_new_per_subject = true;
    })
    .await;
    let key = toy.create().await;
    for _ in 0..2 {
        toy.update(&key).await;
    }
    unsent(&toy, 1).await;
    for _ in 0..5 {
        toy.create().await;
        unsent(&toy, 1).await;
    }
    assert_eq!(published(&toy.place, &key).await, [0, 1]);
    assert!(toy.place.parked().await.is_empty());
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn a_stream_that_was_narrowed_takes_what_it_takes_and_the_rest_waits_and_is_told() {
    let (log, _log_guard) = Log::capture();
    let counters = Counters::start();
    let mut place = Place::new();
    place.timing.longest_key_retry = Duration::from_millis(200);
    let toy = Toy::start_at(place).await;
    let key = toy.create().await;
    toy.place.drained().await;
    let all = format!("{}.counter.>", toy.place.name);
    let created = format!("{}.counter.created.*", toy.place.name);
    change_stream(&toy.place, |config| config.subjects = vec![created]).await;
    toy.update(&key).await;
    let told = log.told("the stream is not what it was").await;
    assert!(
        told.contains("ERROR") && told.contains("counter.updated.*"),
        "{told}"
    );
    assert!(counters.count("outbox_stream_check_failures_total") > 0);
    let other = toy.create().await;
    unsent(&toy, 1).await;
    assert_eq!(published(&toy.place, &other).await, [0]);
    assert!(toy.place.parked().await.is_empty());
    change_stream(&toy.place, |config| config.subjects = vec![all]).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &key).await, [0, 1]);
    toy.finish().await;
}

#[tokio::test]
async fn when_a_full_stream_has_room_again_no_key_waits_any_longer() {
    let (log, _guard) = Log::capture();
    let counters = Counters::start();
    let mut place = Place::new();
    place.timing.first_retry = Duration::from_millis(10);
    // Each key by itself would wait for longer than the test lasts.
    place.timing.longest_key_retry = NEVER;
    place.timing.longest_probe = Duration::from_millis(50);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    allow(&toy.place, 1).await;
    for _ in 0..5 {
        toy.create().await;
    }
    eventually("they fail again and again", async || {
        counters.count(OF_A_KEY) >= 60
    })
    .await;
    // For one cause, however many keys it has.
    assert_eq!(log.lines_with("its key waits").len(), 1);
    allow(&toy.place, -1).await;
    toy.place.drained().await;
    toy.finish().await;
}

#[tokio::test]
async fn a_key_that_waits_is_not_read_by_the_sweeps_of_others() {
    let mut place = Place::new();
    place.timing.first_retry = NEVER;
    place.timing.longest_key_retry = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    allow(&toy.place, 1).await;
    plant(
        &toy.place,
        (0..50).map(|version| event("waits", version, doc! {})),
    )
    .await;
    unsent(&toy, 50).await;
    let database = toy.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    plant(&toy.place, [event("other", 0, doc! {})]).await;
    let profile = database.collection::<Document>("system.profile");
    let read = doc! { "ns": format!("{}.events", toy.place.name), "op": "query" };
    eventually("it is looked for", async || {
        profile.count_documents(read.clone()).await.unwrap() > 0
    })
    .await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let mut of_waiting = read;
    of_waiting.insert("docsExamined", doc! { "$gt": 1 });
    assert_eq!(profile.find_one(of_waiting).await.unwrap(), None);
    toy.stop().await.remove().await;
}
