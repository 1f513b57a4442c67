//! Messages that come once more: nothing is done about them, and they are counted by why.

use serde_json::json;
use testbed::eventually;

use crate::{
    counters::Counters,
    sent::{acknowledged, are_applied, are_aside, consumer_is_deleted, number, send, then},
    tally::Tally,
};

#[tokio::test]
async fn what_is_applied_and_what_is_put_aside_already_is_counted_when_it_comes_again() {
    let counters = Counters::start();
    let tally = Tally::start().await;
    send(&tally.place, (0..2).map(|version| number("a", version))).await;
    send(&tally.place, [then("b", 0, json!("refuse"))]).await;
    are_applied(&tally.place, "a", 0..2).await;
    are_aside(&tally.place, "b", &[(0, "dead")]).await;
    acknowledged(&tally.place).await;
    let skipped = |reason: &str| {
        let series = format!("inbox_skipped_total{{consumer=\"tally\",reason=\"{reason}\"}}");
        counters.count(&series)
    };
    assert_eq!([skipped("late"), skipped("aside")], [0, 0]);
    consumer_is_deleted(&tally.place).await;
    eventually("each has come again", async || {
        // A server that does not hear of it in time sends one once more.
        skipped("late") >= 2 && skipped("aside") >= 1
    })
    .await;
    assert_eq!([tally.calls("a", 0), tally.calls("b", 0)], [1, 1]);
    tally.finish().await;
}
