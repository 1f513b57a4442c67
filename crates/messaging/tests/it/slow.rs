//! A handler that takes long, and what comes behind it.

use std::time::Duration;

use serde_json::json;
use testbed::eventually;

use crate::{
    sent::{
        acknowledged, applied, are_applied, aside, dead_letters, durable, number, numbers, send,
        then,
    },
    tally::{Tally, each_version, newest_only},
    toy::Place,
};

/// More than may be in hand.
const MANY: i64 = 550;

async fn place() -> Place {
    let mut place = Place::new();
    place.timing.inbox.progress = Duration::from_millis(500);
    place.timing.inbox.sweep = Duration::from_secs(3600);
    numbers(&place).await;
    place
}

/// However long it takes, as long as it goes on.
async fn all_are_applied(place: &Place) {
    for least in (100..=MANY).step_by(50) {
        eventually("more are applied", async || {
            applied(place, "a").await.len() as i64 >= least
        })
        .await;
    }
    are_applied(place, "a", 0..MANY).await;
}

#[tokio::test]
async fn messages_behind_a_slow_one_are_put_aside_and_hold_no_other_key_up() {
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    send(&place, (1..MANY).map(|version| number("a", version))).await;
    send(&place, [number("b", 0)]).await;
    let tally = Tally::of(place, each_version()).await;
    are_applied(&tally.place, "b", [0]).await;
    assert_eq!(applied(&tally.place, "a").await, [0; 0]);
    tally.gate.send_replace(true);
    all_are_applied(&tally.place).await;
    // What was put aside met no conflict with the handler.
    assert_eq!(tally.calls("a", 0), 1);
    assert!(aside(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn slow_keys_leave_room_for_others_as_long_as_they_leave_places() {
    let place = place().await;
    let keys: Vec<String> = (0..20).map(|key| format!("slow-{key}")).collect();
    let slow = |key| {
        std::iter::once(then(key, 0, json!("wait")))
            .chain((1..28).map(move |version| number(key, version)))
    };
    send(&place, keys.iter().flat_map(|key| slow(key))).await;
    send(&place, [number("b", 0)]).await;
    let tally = Tally::of(place, each_version()).await;
    are_applied(&tally.place, "b", [0]).await;
    tally.gate.send_replace(true);
    for key in &keys {
        are_applied(&tally.place, key, 0..28).await;
    }
    tally.finish().await;
}

#[tokio::test]
async fn what_was_put_aside_behind_a_slow_message_is_found_where_its_instance_dies() {
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    send(&place, (1..MANY).map(|version| number("a", version))).await;
    let first = Tally::of(place.clone(), each_version()).await;
    eventually("much is put aside", async || {
        dead_letters(&place).await.len() > 200
    })
    .await;
    let gate = first.gate.clone();
    first.kill();
    gate.send_replace(true);
    eventually("the first is applied", async || {
        applied(&place, "a").await == [0]
    })
    .await;
    let second = Tally::of(place, each_version()).await;
    all_are_applied(&second.place).await;
    assert!(aside(&second.place, "a").await.is_empty());
    second.finish().await;
}

#[tokio::test]
async fn of_newest_only_what_comes_behind_a_slow_one_is_resolved_by_the_newest() {
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    send(&place, (1..MANY).map(|version| number("a", version))).await;
    send(&place, [number("b", 0)]).await;
    let tally = Tally::of(place, newest_only()).await;
    are_applied(&tally.place, "b", [0]).await;
    tally.gate.send_replace(true);
    acknowledged(&tally.place).await;
    eventually("the newest is applied", async || {
        applied(&tally.place, "a").await.last() == Some(&(MANY - 1))
    })
    .await;
    eventually("nothing is left", async || {
        aside(&tally.place, "a").await.is_empty()
    })
    .await;
    assert!(applied(&tally.place, "a").await.is_sorted());
    assert_eq!(durable(&tally.place).await.unwrap().num_ack_pending, 0);
    tally.finish().await;
}
