//! Whose turn it is to publish: an instance that can't leaves it to one that can, and one that can't does not ask.

use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};
use futures_util::{FutureExt, StreamExt};
use tempfile::TempDir;
use testbed::{Nats, eventually, mongo_uri, plant};

use crate::{
    log::Log,
    rights::Configured,
    toy::{Place, Toy, event, published},
};

const ALL: &str = "\">\"";
const DENIED: &str = "\"*.counter.updated.bad\"";

async fn lease(place: &Place) -> Document {
    let leases = place.database().await.collection::<Document>("leases");
    let lease = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
    lease.unwrap_or_default()
}

fn expires(lease: &Document) -> i64 {
    lease.get_datetime("expiresAt").unwrap().timestamp_millis()
}

async fn fence_becomes(place: &Place, fence: i64) {
    eventually("another instance publishes", async || {
        lease(place).await.get_i64("fence").ok() == Some(fence)
    })
    .await;
}

async fn somebody_waits(place: &Place) {
    eventually("another instance waits", async || {
        lease(place).await.get_document("waiting").is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_a_part_of_the_cluster_without_a_majority_serves_leaves_publishing_to_another()
 {
    const WITHIN: Duration = Duration::from_secs(15);
    let folder = TempDir::new().unwrap();
    let mut nats = Nats::in_folder(folder.path(), 3);
    nats.start().await;
    let mut cut_off = Place::at(&mongo_uri(), &nats.url());
    cut_off.replicas = 3;
    let mut healthy = cut_off.clone();
    healthy.nats_url = format!("nats://127.0.0.1:{}", nats.ports[1]);
    let first = Toy::start_at(cut_off).await;
    first.create().await;
    healthy.drained().await;
    let second = Toy::start_at(healthy).await;
    somebody_waits(&second.place).await;
    nats.isolate(0).await;
    eventually("it is connected", async || first.is_connected_to_nats()).await;
    let began = Instant::now();
    let key = first.create().await;
    second.place.drained().await;
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
    assert_eq!(published(&second.place, &key).await, [0]);
    first.stop().await;
    second.finish().await;
}

#[tokio::test]
async fn an_instance_to_which_the_stream_does_not_answer_leaves_publishing_to_another_that_waits() {
    let nats = Configured::with_users(&[("a", ""), ("b", "")]).await;
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(300);
    place.timing.failing_limit = Duration::from_secs(1);
    let (log, _guard) = Log::capture();
    let first = Toy::start_at(place.clone()).await;
    first.create().await;
    first.place.drained().await;
    nats.change_users(&[("a", ALL), ("b", "")]).await;
    first.create().await;
    log.told("the stream cannot be used").await;
    assert_eq!(lease(&place).await.get_i64("fence").unwrap(), 1);
    assert_eq!(log.lines_with("leaves publishing to another"), [""; 0]);
    let second = Toy::start_at(nats.place_of("b", &place)).await;
    second.place.drained().await;
    let told = log.told("leaves publishing to another").await;
    assert!(told.contains("does not answer"), "{told}");
    assert_eq!(log.lines_with("cannot be used; events wait").len(), 1);
    assert_eq!(lease(&place).await.get_i64("fence").unwrap(), 2);
    first.stop().await;
    second.finish().await;
}

#[tokio::test]
async fn a_key_that_one_instance_may_not_publish_is_published_by_another_that_may() {
    let nats = Configured::with_users(&[("a", DENIED), ("b", "")]).await;
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(200);
    place.timing.longest_key_retry = Duration::from_millis(200);
    place.timing.failing_key_limit = Duration::from_secs(1);
    let first = Toy::start_at(place.clone()).await;
    plant(&place, [event("bad", 0, doc! {})]).await;
    fence_becomes(&place, 1).await;
    let second = Toy::start_at(nats.place_of("b", &place)).await;
    second.place.drained().await;
    assert_eq!(published(&second.place, "bad").await, [0]);
    first.stop().await;
    second.finish().await;
}

#[tokio::test]
async fn several_keys_of_which_none_may_be_published_are_published_by_another_that_may() {
    let nats = Configured::with_users(&[("a", "\"*.counter.>\""), ("b", "")]).await;
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(200);
    place.timing.failing_limit = Duration::from_secs(1);
    let (log, _guard) = Log::capture();
    let first = Toy::start_at(place.clone()).await;
    for _ in 0..4 {
        first.create().await;
    }
    fence_becomes(&place, 1).await;
    let second = Toy::start_at(nats.place_of("b", &place)).await;
    second.place.drained().await;
    let told = log.told("leaves publishing to another").await;
    assert!(told.contains("several keys fail"), "{told}");
    assert_eq!(lease(&place).await.get_i64("fence").unwrap(), 2);
    first.stop().await;
    second.finish().await;
}

#[tokio::test]
async fn a_key_that_nobody_may_publish_is_handed_over_once_and_not_round() {
    let nats = Configured::with_users(&[("a", DENIED)]).await;
    let mut place = nats.place("a");
    place.timing.ack_timeout = Duration::from_millis(200);
    place.timing.longest_key_retry = Duration::from_millis(200);
    place.timing.failing_key_limit = Duration::from_millis(500);
    place.timing.precedence = Duration::from_millis(100);
    let first = Toy::start_at(place.clone()).await;
    fence_becomes(&place, 1).await;
    let second = Toy::start_at(place.clone()).await;
    plant(&place, [event("bad", 0, doc! {})]).await;
    fence_becomes(&place, 2).await;
    let handed_over = lease(&place).await;
    let keys = handed_over.get_document("gaveUp").unwrap();
    assert_eq!(keys.get_array("keys").unwrap(), &vec![Bson::from("bad")]);
    somebody_waits(&place).await;
    eventually("it is kept for longer than the key may fail", async || {
        expires(&lease(&place).await) > expires(&handed_over) + 3_000
    })
    .await;
    assert_eq!(lease(&place).await.get_i64("fence").unwrap(), 2);
    nats.change_users(&[("a", "")]).await;
    place.drained().await;
    first.stop().await;
    second.finish().await;
}

#[tokio::test]
async fn an_instance_whose_stream_cannot_be_made_does_not_ask_for_the_lease() {
    let (log, _guard) = Log::capture();
    let first = Toy::start().await;
    first.create().await;
    first.place.drained().await;
    // A rolling change of the stream's name: the subjects are taken.
    let mut renamed = first.place.clone();
    renamed.stream = format!("{}-renamed", first.place.name);
    let second = Toy::start_at(renamed).await;
    let told = log.told("this instance does not publish").await;
    assert!(told.contains("overlap"), "{told}");
    for _ in 0..3 {
        second.create().await;
        first.place.drained().await;
    }
    let lease = lease(&first.place).await;
    assert_eq!(lease.get_i64("fence").unwrap(), 1);
    assert!(!lease.contains_key("waiting"), "{lease}");
    second.stop().await;
    first.finish().await;
}

#[tokio::test]
async fn with_the_broker_away_for_all_nobody_waits_for_anybody() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    // Whoever gave the lease up would wait for ever.
    place.timing.precedence = Duration::from_secs(3600);
    let first = Toy::start_at(place.clone()).await;
    fence_becomes(&place, 1).await;
    let second = Toy::start_at(place.clone()).await;
    somebody_waits(&place).await;
    nats.kill();
    first.create().await;
    let is_gone = async || !first.is_connected_to_nats() && !second.is_connected_to_nats();
    eventually("nobody is connected", is_gone).await;
    let counts = |lease: &Document| {
        let left = lease.get_document("waiting").unwrap();
        let left = left.get_datetime("at").unwrap().timestamp_millis();
        expires(lease) - 3_000 - left <= 5_000
    };
    eventually("the name counts no more", async || {
        lease(&place).await.get_document("waiting").is_err() || !counts(&lease(&place).await)
    })
    .await;
    nats.start().await;
    place.drained().await;
    assert_eq!(lease(&place).await.get_i64("fence").unwrap(), 1);
    first.stop().await;
    second.finish().await;
}

#[tokio::test]
async fn an_instance_that_stands_by_looks_at_the_stream_now_and_then_and_not_each_time_that_it_asks()
 {
    let mut place = Place::new();
    place.timing.standby_interval = Duration::from_millis(20);
    place.timing.stream_check_again = Duration::from_secs(3600);
    let first = Toy::start_at(place.clone()).await;
    fence_becomes(&place, 1).await;
    let client = async_nats::connect(&place.nats_url).await.unwrap();
    let looked = format!("$JS.API.STREAM.INFO.{}", place.stream);
    let mut looked = client.subscribe(looked).await.unwrap();
    client.flush().await.unwrap();
    let second = Toy::start_at(place.clone()).await;
    somebody_waits(&place).await;
    let renewed = expires(&lease(&place).await) + 2_000;
    eventually("it has asked many times", async || {
        expires(&lease(&place).await) > renewed
    })
    .await;
    client.flush().await.unwrap();
    assert!(looked.next().now_or_never().is_some());
    assert!(looked.next().now_or_never().is_none());
    first.stop().await;
    second.finish().await;
}
