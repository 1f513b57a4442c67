//! Messages of one version of one key: the same one again, or another.

use serde_json::json;
use testbed::eventually;

use crate::{
    counters::Counters,
    sent::{acknowledged, are_applied, are_aside, consumer_is_deleted, number, send, then},
    tally::{CONSUMER, Tally},
};

const CONFLICTS: &str = "inbox_conflicts_total{consumer=\"tally\"}";

#[tokio::test]
async fn what_was_given_up_and_comes_again_is_no_conflict() {
    let counters = Counters::start();
    let tally = Tally::start().await;
    // One that is dead, and some that are missing, of which the last comes after all.
    send(
        &tally.place,
        [then("a", 0, json!("refuse")), number("b", 3)],
    )
    .await;
    are_aside(&tally.place, "a", &[(0, "dead")]).await;
    are_aside(&tally.place, "b", &[(3, "waiting")]).await;
    tally.inbox.skip(CONSUMER, "a", "x").await.unwrap().unwrap();
    tally.inbox.skip(CONSUMER, "b", "x").await.unwrap().unwrap();
    are_applied(&tally.place, "b", [3]).await;
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
