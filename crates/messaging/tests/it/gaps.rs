//! A version that is missing: a gap, which is waited for, or the base of a key whose beginning the stream has lost.

use std::time::Duration;

use async_nats::jetstream::stream;
use bson::{Document, doc};
use testbed::eventually;

use crate::{
    log::Log,
    sent::{
        acknowledged, applied, are_applied, are_aside, aside, dead_letters, jetstream, number,
        numbers, send,
    },
    tally::{CONSUMER, Tally},
    toy::Place,
};

const NEVER: Duration = Duration::from_secs(3600);

/// A stream that keeps so many messages.
async fn limited(place: &Place, max_messages: i64) {
    let config = numbers(place).await;
    let limited = stream::Config {
        max_messages,
        ..config
    };
    jetstream(place).await.update_stream(limited).await.unwrap();
}

#[tokio::test]
async fn a_key_whose_beginning_a_limited_stream_has_lost_begins_with_what_is_left() {
    let (log, _guard) = Log::capture();
    let place = Place::new();
    limited(&place, 3).await;
    send(&place, (0..6).map(|version| number("a", version))).await;
    let tally = Tally::start_at(place).await;
    are_applied(&tally.place, "a", 3..6).await;
    assert!(
        !log.lines_with("the stream has lost the beginning of a key")
            .is_empty()
    );
    // A key of which the stream holds something earlier does not begin anew.
    send(&tally.place, [number("b", 1), number("a", 6)]).await;
    are_applied(&tally.place, "a", 3..7).await;
    tally.finish().await;
}

#[tokio::test]
async fn a_base_is_not_taken_above_an_earlier_message_that_the_stream_holds() {
    let place = Place::new();
    limited(&place, 3).await;
    let others = (0..3).map(|version| number("other", version));
    send(&place, others.chain([number("a", 7), number("a", 6)])).await;
    let tally = Tally::start_at(place).await;
    // The first in the stream is the base, whatever its version.
    eventually("it is applied", async || {
        applied(&tally.place, "a").await == [7]
    })
    .await;
    acknowledged(&tally.place).await;
    assert_eq!(applied(&tally.place, "a").await, [7]);
    tally.finish().await;
}

#[tokio::test]
async fn a_gap_in_a_stream_that_has_lost_nothing_waits_and_a_skip_passes_it() {
    let tally = Tally::start().await;
    send(&tally.place, [3, 5, 4].map(|version| number("a", version))).await;
    send(&tally.place, [number("b", 0)]).await;
    are_applied(&tally.place, "b", [0]).await;
    are_aside(
        &tally.place,
        "a",
        &[(3, "waiting"), (4, "waiting"), (5, "waiting")],
    )
    .await;
    acknowledged(&tally.place).await;
    let status = tally.inbox.status(CONSUMER).await.unwrap();
    assert_eq!((status.waiting, status.retrying, status.dead), (3, 0, 0));
    assert!(status.oldest_waiting_seconds.unwrap() < 20.0);
    let skipped = tally
        .inbox
        .skip(CONSUMER, "a", "they are lost")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((skipped.from, skipped.to), (0, 2));
    are_applied(&tally.place, "a", 3..6).await;
    // Why is kept.
    let letters = dead_letters(&tally.place).await;
    let skip = letters[0].get_document("skip").unwrap();
    assert_eq!(skip.get_str("reason").unwrap(), "they are lost");
    assert_eq!(aside(&tally.place, "a").await, [(2, "skipped".to_owned())]);
    // What was given up comes late.
    send(&tally.place, [number("a", 1), number("a", 6)]).await;
    are_applied(&tally.place, "a", 3..7).await;
    tally.finish().await;
}

#[tokio::test]
async fn what_waits_although_nothing_is_missing_is_found_by_a_sweep() {
    let mut place = Place::new();
    place.timing.inbox.sweep = Duration::from_millis(300);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 1)]).await;
    are_aside(&tally.place, "a", &[(1, "waiting")]).await;
    // As if the mark had been written by somebody who does not look.
    let marks = tally.place.database().await.collection::<Document>("inbox");
    let moved = doc! { "$set": { "version": 0_i64 }, "$unset": { "putAside": "" } };
    marks.update_one(doc! {}, moved).await.unwrap();
    are_applied(&tally.place, "a", [1]).await;
    eventually("nothing waits", async || {
        aside(&tally.place, "a").await.is_empty()
    })
    .await;
    tally.finish().await;
}

#[tokio::test]
async fn ten_thousand_messages_behind_one_that_is_missing_are_put_aside_in_batches_and_hold_nobody_up()
 {
    const MESSAGES: i64 = 10_000;
    let mut place = Place::new();
    place.timing.inbox.sweep = NEVER;
    numbers(&place).await;
    send(&place, (1..=MESSAGES).map(|version| number("bad", version))).await;
    let keys: Vec<String> = (0..100).map(|key| format!("good-{key}")).collect();
    send(&place, keys.iter().map(|key| number(key, 0))).await;
    let tally = Tally::start_at(place).await;
    acknowledged(&tally.place).await;
    let database = tally.place.database().await;
    let letters = database.collection::<Document>("deadLetters");
    let waiting = doc! { "_id.key": "bad", "state": "waiting" };
    let waiting = letters.count_documents(waiting).await.unwrap();
    assert_eq!(waiting, MESSAGES.unsigned_abs());
    let totals = database.collection::<Document>("totals");
    assert_eq!(totals.count_documents(doc! {}).await.unwrap(), 100);
    // As many transactions as their time, in proportion: benches/src/inbox.rs measures that.
    let marks = database.collection::<Document>("inbox");
    let mark = marks.find_one(doc! { "_id.key": "bad" }).await.unwrap();
    let batches = mark.unwrap().get_i64("putAside").unwrap();
    assert!(batches <= 100, "{batches}");
    tally.finish().await;
}

#[tokio::test]
async fn what_waits_behind_a_missing_version_is_applied_in_order_when_that_comes() {
    const WAITING: i64 = 60;
    let tally = Tally::start().await;
    send(
        &tally.place,
        (1..=WAITING).rev().map(|version| number("a", version)),
    )
    .await;
    acknowledged(&tally.place).await;
    assert_eq!(aside(&tally.place, "a").await.len() as i64, WAITING);
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", 0..=WAITING).await;
    assert!(aside(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn however_many_keys_wait_sweeps_come_to_each() {
    let mut place = Place::new();
    place.timing.inbox.sweep = NEVER;
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    // More than are looked at once, for which nothing can be done.
    let keys: Vec<String> = (0..300).map(|key| format!("a-{key}")).collect();
    let stuck: Vec<String> = (0..20).map(|key| format!("b-{key}")).collect();
    let all = keys.iter().chain(&stuck).map(|key| number(key, 1));
    send(&tally.place, all).await;
    acknowledged(&tally.place).await;
    let mut place = tally.stop().await;
    let database = place.database().await;
    let moved = doc! { "$set": { "version": 0_i64 }, "$unset": { "putAside": "" } };
    let of_stuck = doc! { "_id.key": { "$in": &stuck } };
    let marks = database.collection::<Document>("inbox");
    marks.update_many(of_stuck.clone(), moved).await.unwrap();
    place.timing.inbox.sweep = Duration::from_secs(4);
    let tally = Tally::start_at(place).await;
    let letters = database.collection::<Document>("deadLetters");
    eventually("each is applied", async || {
        letters.count_documents(of_stuck.clone()).await.unwrap() == 0
    })
    .await;
    tally.finish().await;
}
