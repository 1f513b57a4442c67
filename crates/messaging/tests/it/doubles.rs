//! Messages of one version of one key: the same one again, or another.

use serde_json::json;
use testbed::eventually;

use crate::{
    counters::Counters,
    log::Log,
    sent::{
        Sent, acknowledged, are_applied, are_aside, consumer_is_deleted, number, numbers, send,
        then,
    },
    tally::{CONSUMER, Tally},
    toy::Place,
};

const CONFLICTS: &str = "inbox_conflicts_total{consumer=\"tally\"}";

#[tokio::test]
async fn what_was_given_up_and_comes_again_is_no_conflict() {
    let counters = Counters::start();
    let tally = Tally::start().await;
    // One that is dead, and some that are missing, of which the last comes after all.
    let sent = [("a", 0), ("b", 3)].map(|(key, version)| then(key, version, json!("refuse")));
    send(&tally.place, sent).await;
    are_aside(&tally.place, "a", &[(0, "dead")]).await;
    are_aside(&tally.place, "b", &[(3, "waiting")]).await;
    tally.inbox.skip(CONSUMER, "a", "x").await.unwrap().unwrap();
    tally.inbox.skip(CONSUMER, "b", "x").await.unwrap().unwrap();
    are_aside(&tally.place, "b", &[(2, "skipped"), (3, "dead")]).await;
    acknowledged(&tally.place).await;
    consumer_is_deleted(&tally.place).await;
    send(&tally.place, [number("b", 2), number("c", 0)]).await;
    are_applied(&tally.place, "c", [0]).await;
    acknowledged(&tally.place).await;
    assert_eq!(counters.count(CONFLICTS), 0);
    // Another message of the version that was given up.
    send(&tally.place, [number("a", 0)]).await;
    eventually("it is told", async || counters.count(CONFLICTS) == 1).await;
    tally.finish().await;
}

fn with_id<'a>(id: &str, sent: Sent<'a>) -> Sent<'a> {
    Sent {
        id: Some(id.to_owned()),
        ..sent
    }
}

#[tokio::test]
async fn the_log_names_both_messages_of_one_version_wherever_they_meet() {
    let (counters, (log, _guard)) = (Counters::start(), Log::capture());
    let place = Place::new();
    numbers(&place).await;
    // One that is applied; one that is put aside; two that are put aside together.
    let sent = [
        with_id("applied", number("a", 0)),
        with_id("aside", number("b", 1)),
        with_id("first", number("c", 1)),
        with_id("second", number("c", 1)),
        number("c", 2),
    ];
    send(&place, sent).await;
    let tally = Tally::start_at(place).await;
    are_applied(&tally.place, "a", [0]).await;
    are_aside(&tally.place, "b", &[(1, "waiting")]).await;
    are_aside(&tally.place, "c", &[(1, "waiting"), (2, "waiting")]).await;
    let others = [
        with_id("another", number("a", 0)),
        with_id("besides", number("b", 1)),
    ];
    send(&tally.place, others).await;
    acknowledged(&tally.place).await;
    let line = "another message of this version";
    eventually("all are told", async || log.lines_with(line).len() == 3).await;
    let lines = log.lines_with(line).join("\n");
    for two in [
        ["applied", "another"],
        ["aside", "besides"],
        ["first", "second"],
    ] {
        assert!(two.iter().all(|id| lines.contains(id)), "{two:?}: {lines}");
    }
    assert_eq!(counters.count(CONFLICTS), 3);
    tally.finish().await;
}

#[tokio::test]
async fn what_is_put_aside_already_does_not_count_again() {
    let counters = Counters::start();
    let tally = Tally::start().await;
    send(&tally.place, [number("a", 1), number("a", 2)]).await;
    acknowledged(&tally.place).await;
    consumer_is_deleted(&tally.place).await;
    send(&tally.place, [number("b", 0)]).await;
    are_applied(&tally.place, "b", [0]).await;
    acknowledged(&tally.place).await;
    let waiting = "inbox_put_aside_total{consumer=\"tally\",state=\"waiting\"}";
    assert_eq!(counters.count(waiting), 2);
    tally.finish().await;
}
