//! What is applied: each message once, each key in the order of its versions.

use serde_json::json;
use testbed::eventually;

use crate::tally::{
    Sent, Tally, acknowledged, applied, are_applied, are_aside, aside, dead_letters, number, send,
    then,
};

#[tokio::test]
async fn a_message_is_applied_with_what_its_handler_records_and_then_acknowledged() {
    let tally = Tally::start().await;
    send(&tally.place, (0..3).map(|version| number("a", version))).await;
    are_applied(&tally.place, "a", 0..3).await;
    tally.finish().await;
}

#[tokio::test]
async fn duplicates_change_nothing() {
    let tally = Tally::start().await;
    let twice = |version| {
        (0..2).map(move |copy| Sent {
            id: Some(format!("{version}-{copy}")),
            ..number("a", version)
        })
    };
    send(&tally.place, (0..3).flat_map(twice)).await;
    are_applied(&tally.place, "a", 0..3).await;
    tally.finish().await;
}

#[tokio::test]
async fn versions_that_come_late_are_waited_for_and_applied_in_their_order() {
    let tally = Tally::start().await;
    send(&tally.place, [3, 1, 2].map(|version| number("a", version))).await;
    are_aside(
        &tally.place,
        "a",
        &[(1, "waiting"), (2, "waiting"), (3, "waiting")],
    )
    .await;
    acknowledged(&tally.place).await;
    assert!(applied(&tally.place, "a").await.is_empty());
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", 0..4).await;
    assert!(dead_letters(&tally.place).await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn a_handler_that_panics_is_asked_three_times_and_holds_back_its_own_key_only() {
    let tally = Tally::start().await;
    send(
        &tally.place,
        [then("a", 0, json!("panic")), number("a", 1), number("b", 0)],
    )
    .await;
    are_applied(&tally.place, "b", [0]).await;
    are_aside(&tally.place, "a", &[(0, "dead"), (1, "waiting")]).await;
    assert_eq!(tally.calls("a", 0), 3);
    assert!(applied(&tally.place, "a").await.is_empty());
    assert_eq!(tally.place.events().await.len(), 1, "b's");
    tally.finish().await;
}

#[tokio::test]
async fn what_its_handler_wants_again_is_applied_later_and_what_it_refuses_never() {
    let tally = Tally::start().await;
    send(
        &tally.place,
        [
            then("a", 0, json!({ "again": 4 })),
            number("a", 1),
            then("b", 0, json!("refuse")),
        ],
    )
    .await;
    are_applied(&tally.place, "a", 0..2).await;
    eventually("it is dead", async || {
        aside(&tally.place, "b").await == [(0, "dead".to_owned())]
    })
    .await;
    assert_eq!((tally.calls("a", 0), tally.calls("b", 0)), (4, 1));
    assert!(applied(&tally.place, "b").await.is_empty());
    tally.finish().await;
}
