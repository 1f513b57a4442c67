//! An instance that dies, is cut off or is overtaken at any moment: each message is applied once.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use async_nats::jetstream::consumer::pull;
use bson::doc;
use serde_json::json;
use testbed::{
    Mongo, eventually, fail, has_entered, mongo_uri, nats_url,
    proxy::{LinkFault, Mode},
};
use tokio::runtime::Runtime;

use crate::{
    sent::{
        acknowledged, applied, are_applied, are_aside, durable, jetstream, number, numbers, send,
        then,
    },
    tally::{Tally, each_version},
    toy::{NAME, Place},
    waits::linked_to_nats,
};

const NEVER: Duration = Duration::from_secs(3600);

/// What is not acknowledged comes again soon.
async fn place() -> Place {
    impatient(Place::new()).await
}

async fn impatient(mut place: Place) -> Place {
    place.timing.inbox.ack_wait = Duration::from_secs(1);
    place.timing.inbox.progress = Duration::from_millis(300);
    numbers(&place).await;
    place
}

async fn is_asked(tally: &Tally, key: &str, version: i64) {
    eventually("its handler is asked", async || {
        tally.calls(key, version) > 0
    })
    .await;
}

#[tokio::test]
async fn who_dies_before_the_commit_leaves_a_message_to_another() {
    let mut mongo = Mongo::absent();
    // What a dead process holds is free after this.
    mongo.args.extend(
        "--setParameter transactionLifetimeLimitSeconds=2"
            .split(' ')
            .map(Into::into),
    );
    mongo.start().await;
    let place = impatient(Place::at(&mongo.uri(), &nats_url())).await;
    let runtime = Runtime::new().unwrap();
    let dies = place.clone();
    let (asked, mut is_asked) = tokio::sync::mpsc::channel(1);
    runtime.spawn(async move {
        let tally = Tally::start_at(dies).await;
        send(&tally.place, [then("a", 0, json!("wait"))]).await;
        eventually("its handler is asked", async || tally.calls("a", 0) > 0).await;
        asked.send(()).await.unwrap();
        pending::<()>().await;
    });
    is_asked.recv().await.unwrap();
    runtime.shutdown_background();
    let tally = Tally::start_at(place).await;
    tally.gate.send_replace(true);
    are_applied(&tally.place, "a", [0]).await;
    tally.finish().await;
}

#[tokio::test]
async fn who_dies_after_the_commit_and_before_the_acknowledgement_applies_nothing_twice() {
    let place = place().await;
    let first = Tally::start_at(place.clone()).await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    is_asked(&first, "a", 0).await;
    let gate = first.gate.clone();
    // Its transaction goes on, in a task that knows nothing of messages.
    first.kill();
    gate.send_replace(true);
    are_applied(&place, "a", [0]).await;
    assert_eq!(durable(&place).await.unwrap().num_ack_pending, 1);
    let second = Tally::start_at(place).await;
    acknowledged(&second.place).await;
    are_applied(&second.place, "a", [0]).await;
    assert_eq!(second.calls("a", 0), 0);
    second.finish().await;
}

#[tokio::test]
async fn who_dies_before_it_goes_on_with_what_waits_leaves_that_to_another() {
    let mut place = place().await;
    place.timing.inbox.sweep = NEVER;
    let first = Tally::start_at(place.clone()).await;
    send(&place, [number("a", 1)]).await;
    are_aside(&place, "a", &[(1, "waiting")]).await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    is_asked(&first, "a", 0).await;
    let second = Tally::start_at(place).await;
    send(&second.place, [number("b", 0)]).await;
    are_applied(&second.place, "b", [0]).await;
    let gate = first.gate.clone();
    first.kill();
    gate.send_replace(true);
    are_applied(&second.place, "a", 0..2).await;
    are_aside(&second.place, "a", &[]).await;
    second.finish().await;
}

#[tokio::test]
async fn an_acknowledgement_that_is_lost_brings_the_message_again_and_it_is_found_applied() {
    let (url, link) = linked_to_nats().await;
    let mut place = impatient(Place::at(&mongo_uri(), &url)).await;
    let tally = Tally::start_at(place.clone()).await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    is_asked(&tally, "a", 0).await;
    let hole = LinkFault::new(Mode::BlackHole);
    link.begin(&hole);
    tally.gate.send_replace(true);
    place.nats_url = nats_url();
    are_applied(&place, "a", [0]).await;
    // What it said is lost with its connection.
    let cut = LinkFault::new(Mode::Cut);
    link.begin(&cut);
    link.end(&hole);
    eventually("it is cut", async || cut.strikes() > 0).await;
    link.end(&cut);
    acknowledged(&place).await;
    are_applied(&place, "a", [0]).await;
    assert_eq!(tally.calls("a", 0), 1);
    tally.stop().await;
    place.remove().await;
}

#[tokio::test]
async fn a_message_that_comes_to_another_while_the_first_is_at_work_is_applied_once() {
    let mut place = place().await;
    // As if it were paused: it says nothing for longer than the stream waits.
    place.timing.inbox.progress = NEVER;
    let first = Tally::start_at(place.clone()).await;
    send(&place, [then("a", 0, json!("wait")), number("a", 1)]).await;
    is_asked(&first, "a", 0).await;
    let second = Tally::start_at(place).await;
    is_asked(&second, "a", 0).await;
    first.gate.send_replace(true);
    second.gate.send_replace(true);
    are_applied(&second.place, "a", 0..2).await;
    first.stop().await;
    second.finish().await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_batch_finishes_what_is_begun_and_gives_the_rest_back() {
    let mut place = place().await;
    // What is not given back comes again long after this test.
    place.timing.inbox.ack_wait = NEVER;
    let tally = Tally::start_at(place.clone()).await;
    let keys: Vec<String> = (0..100).map(|key| format!("key-{key}")).collect();
    send(&place, keys.iter().map(|key| then(key, 0, json!("wait")))).await;
    send(&place, (1..4).map(|version| number("key-0", version))).await;
    is_asked(&tally, "key-0", 0).await;
    eventually("all are in hand", async || {
        durable(&place).await.unwrap().num_ack_pending == 103
    })
    .await;
    let gate = tally.gate.clone();
    let stopped = tokio::spawn(tally.stop());
    gate.send_replace(true);
    stopped.await.unwrap();
    let begun = applied_keys(&place).await;
    assert!((1..100).contains(&begun), "{begun}");
    let second = Tally::start_at(place).await;
    second.gate.send_replace(true);
    acknowledged(&second.place).await;
    assert_eq!(applied_keys(&second.place).await, 100);
    are_applied(&second.place, "key-0", 0..4).await;
    second.finish().await;
}

async fn applied_keys(place: &Place) -> u64 {
    let totals = place
        .database()
        .await
        .collection::<bson::Document>("totals");
    totals.count_documents(doc! {}).await.unwrap()
}

/// The first puts version 1 aside, and its transaction is not committed yet; the second applies version 0 meanwhile.
#[tokio::test]
async fn who_puts_a_version_aside_and_who_applies_the_one_before_see_each_other() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let (url, link) = linked_to_nats().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    // Nothing else finds it.
    (place.timing.inbox.ack_wait, place.timing.inbox.sweep) = (NEVER, NEVER);
    numbers(&place).await;
    let mut cut_off = place.clone();
    cut_off.nats_url = url;
    let first = Tally::start_at(cut_off).await;
    send(&place, [number("other", 0)]).await;
    are_applied(&place, "other", [0]).await;
    let blocked = doc! { "blockConnection": true, "blockTimeMS": 3_000 };
    // The first transaction of a message that can't be applied has nothing to commit, and the second puts it aside.
    fail(&place, doc! { "skip": 1 }, "commitTransaction", blocked).await;
    send(&place, [number("a", 1)]).await;
    has_entered(&place, 1).await;
    // From here on it is sent nothing.
    link.begin(&LinkFault::new(Mode::Cut));
    let app_name = format!("appName={}", place.name);
    place.mongo_uri = place.mongo_uri.replace(&app_name, "appName=second");
    let second = Tally::start_at(place).await;
    send(&second.place, [number("a", 0)]).await;
    eventually("both are applied", async || {
        applied(&second.place, "a").await == [0, 1]
    })
    .await;
    are_aside(&second.place, "a", &[]).await;
    first.kill();
    second.stop().await;
}

#[tokio::test]
async fn options_that_another_version_has_set_are_brought_up_to_date() {
    let place = place().await;
    let stream = jetstream(&place)
        .await
        .get_stream(&place.stream)
        .await
        .unwrap();
    let before = pull::Config {
        durable_name: Some(format!("{}-{NAME}-tally", place.name)),
        max_ack_pending: 1,
        max_deliver: 2,
        ack_wait: Duration::from_secs(60),
        filter_subject: format!("{}.number.added.>", place.name),
        inactive_threshold: Duration::from_secs(5),
        ..pull::Config::default()
    };
    stream.create_consumer(before).await.unwrap();
    let tally = Tally::of(place, each_version()).await;
    send(&tally.place, (0..3).map(|version| number("a", version))).await;
    are_applied(&tally.place, "a", 0..3).await;
    let config = durable(&tally.place).await.unwrap().config;
    assert_eq!(config.ack_wait, Duration::from_secs(1));
    assert_eq!(config.max_deliver, -1);
    assert_eq!(config.inactive_threshold, Duration::ZERO);
    assert_eq!(
        config.filter_subject,
        format!("{}.number.>", tally.place.name)
    );
    assert!(config.max_ack_pending > 10_000);
    tally.finish().await;
}

#[tokio::test]
async fn what_is_in_hand_for_longer_than_the_stream_waits_is_sent_to_nobody_else() {
    let place = place().await;
    let first = Tally::start_at(place.clone()).await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    is_asked(&first, "a", 0).await;
    let second = Tally::start_at(place.clone()).await;
    // Others come to the second, for three times as long as the stream waits.
    let began = Instant::now();
    for version in 0.. {
        send(&place, [number("b", version)]).await;
        eventually("it is applied", async || {
            applied(&place, "b").await.len() as i64 > version
        })
        .await;
        if began.elapsed() > place.timing.inbox.ack_wait * 3 {
            break;
        }
    }
    let redelivered = durable(&place).await.unwrap().num_redelivered;
    assert_eq!((redelivered, second.calls("a", 0)), (0, 0));
    first.gate.send_replace(true);
    are_applied(&place, "a", [0]).await;
    second.stop().await;
    first.finish().await;
}
