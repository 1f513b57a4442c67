//! Whose a failure is: what fails for one key delays no other, and what fails for all is tried once for all.

use std::time::Duration;

use async_nats::jetstream::{self, stream::DiscardPolicy};
use bson::{Document, doc};
use messaging::{Outbox, Retry};
use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use testbed::{Nats, eventually, mongo_uri, plant, stream};

use crate::{
    log::Log,
    rights::Configured,
    toy::{Place, Toy, event, published},
};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(3600);
const DENIED: &str = "\"*.counter.updated.bad\"";

async fn unsent(toy: &Toy, wanted: i64) {
    let outbox = Outbox::new(&toy.place.db().await);
    eventually("so many are unsent", async || {
        outbox.status().await.unwrap().unsent == wanted
    })
    .await;
}

/// What this thread, which all of a test's tasks run on, counts.
fn counted() -> (PrometheusHandle, LocalRecorderGuard<'static>) {
    let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let metrics = recorder.handle();
    (metrics, metrics::set_default_local_recorder(recorder))
}

fn count(metrics: &PrometheusHandle, name: &str) -> u64 {
    let text = metrics.render();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

async fn change_stream(place: &Place, change: impl FnOnce(&mut jetstream::stream::Config)) {
    let jetstream = jetstream::new(async_nats::connect(&place.nats_url).await.unwrap());
    let mut config = stream(place).await.cached_info().config.clone();
    change(&mut config);
    jetstream.update_stream(&config).await.unwrap();
}

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
    let (metrics, _guard) = counted();
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(200);
    place.timing.longest_key_retry = Duration::from_millis(200);
    let toy = Toy::start_at(place).await;
    plant(
        &toy.place,
        (0..2).map(|version| event("bad", version, doc! {})),
    )
    .await;
    let failed = "outbox_publish_failures_total{reason=\"key\"}";
    eventually("it fails several times", async || {
        count(&metrics, failed) >= 3
    })
    .await;
    let other = toy.create().await;
    unsent(&toy, 2).await;
    assert_eq!(published(&toy.place, &other).await, [0]);
    assert!(toy.place.parked().await.is_empty());
    assert_eq!(
        count(&metrics, "outbox_publish_failures_total{reason=\"broker\"}"),
        0
    );
    nats.change_users(&[("a", "")]).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "bad").await, [0, 1]);
    toy.finish().await;
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
    let (metrics, _guard) = counted();
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
    assert!(count(&metrics, "outbox_stream_check_failures_total") > 0);
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
    let (metrics, _guard) = counted();
    let mut place = Place::new();
    place.timing.first_retry = Duration::from_millis(10);
    // Each key by itself would wait for longer than the test lasts.
    place.timing.longest_key_retry = NEVER;
    place.timing.longest_probe = Duration::from_millis(50);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    change_stream(&toy.place, |config| {
        config.max_messages = 1;
        config.discard = DiscardPolicy::New;
    })
    .await;
    for _ in 0..5 {
        toy.create().await;
    }
    let failed = "outbox_publish_failures_total{reason=\"key\"}";
    eventually("they fail again and again", async || {
        count(&metrics, failed) >= 60
    })
    .await;
    change_stream(&toy.place, |config| config.max_messages = -1).await;
    toy.place.drained().await;
    toy.finish().await;
}

#[tokio::test]
async fn when_the_broker_is_back_no_key_waits_any_longer() {
    let mut nats = Configured::with_users(&[("a", DENIED)]).await;
    let (metrics, _guard) = counted();
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(200);
    place.timing.first_retry = NEVER;
    place.timing.longest_key_retry = NEVER;
    // Of the broker.
    place.timing.longest_retry = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    plant(&toy.place, [event("bad", 0, doc! {})]).await;
    let failed = "outbox_publish_failures_total{reason=\"key\"}";
    eventually("it fails", async || count(&metrics, failed) == 1).await;
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

#[tokio::test]
async fn a_key_that_waits_is_not_read_by_the_sweeps_of_others() {
    let mut place = Place::new();
    place.timing.first_retry = NEVER;
    place.timing.longest_key_retry = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    change_stream(&toy.place, |config| {
        config.max_messages = 1;
        config.discard = DiscardPolicy::New;
    })
    .await;
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
