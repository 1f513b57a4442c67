//! What is applied: each message once, each key in the order of its versions.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream::stream};
use serde_json::json;
use testbed::eventually;

use crate::{
    counters::Counters,
    log::Log,
    sent::{
        Sent, acknowledged, applied, are_applied, are_aside, aside, dead_letters, durable,
        jetstream, number, numbers, publish, send, then,
    },
    tally::{CONSUMER, Tally, newest_only},
    toy::Place,
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
    let counters = Counters::start();
    let place = Place::new();
    let config = numbers(&place).await;
    // The stream takes what comes again for new soon after.
    let short = stream::Config {
        duplicate_window: Duration::from_millis(100),
        ..config
    };
    jetstream(&place).await.update_stream(short).await.unwrap();
    let tally = Tally::start_at(place).await;
    let sent = |version| Sent {
        id: Some(format!("a-{version}")),
        ..number("a", version)
    };
    send(&tally.place, (0..3).map(sent)).await;
    are_applied(&tally.place, "a", 0..3).await;
    eventually("the stream has taken them again", async || {
        send(&tally.place, (0..3).map(sent)).await;
        durable(&tally.place)
            .await
            .unwrap()
            .delivered
            .stream_sequence
            >= 6
    })
    .await;
    acknowledged(&tally.place).await;
    are_applied(&tally.place, "a", 0..3).await;
    for version in 0..3 {
        assert_eq!(tally.calls("a", version), 1);
    }
    assert_eq!(
        counters.count("inbox_conflicts_total{consumer=\"tally\"}"),
        0
    );
    tally.finish().await;
}

#[tokio::test]
async fn other_messages_of_versions_that_are_applied_change_nothing() {
    let counters = Counters::start();
    let tally = Tally::start().await;
    let twice = |version| (0..2).map(move |_| number("a", version));
    send(&tally.place, (0..3).flat_map(twice)).await;
    are_applied(&tally.place, "a", 0..3).await;
    acknowledged(&tally.place).await;
    let conflicts = "inbox_conflicts_total{consumer=\"tally\"}";
    eventually("each is told", async || counters.count(conflicts) == 3).await;
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
async fn of_newest_only_what_is_older_is_skipped_and_a_newer_version_resolves_a_dead_one() {
    let place = Place::new();
    numbers(&place).await;
    let tally = Tally::of(place, newest_only()).await;
    send(&tally.place, [number("a", 5)]).await;
    are_applied(&tally.place, "a", [5]).await;
    send(
        &tally.place,
        [number("a", 3), then("a", 7, json!("refuse"))],
    )
    .await;
    are_aside(&tally.place, "a", &[(7, "dead")]).await;
    send(
        &tally.place,
        [number("a", 6), number("a", 9), number("a", 8)],
    )
    .await;
    eventually("the newest is applied", async || {
        applied(&tally.place, "a").await.last() == Some(&9)
    })
    .await;
    acknowledged(&tally.place).await;
    let applied = applied(&tally.place, "a").await;
    assert!(applied.is_sorted(), "{applied:?}");
    assert!(aside(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn of_newest_only_a_type_that_nobody_knows_takes_nothing_away_from_what_comes_before_it() {
    let place = Place::new();
    numbers(&place).await;
    let tally = Tally::of(place, newest_only()).await;
    let skipped = |version| Sent {
        r#type: "number.skipped",
        ..number("a", version)
    };
    send(&tally.place, [then("a", 0, json!({ "again": 3 }))]).await;
    are_aside(&tally.place, "a", &[(0, "retrying")]).await;
    send(&tally.place, [skipped(1)]).await;
    are_applied(&tally.place, "a", [0]).await;
    send(&tally.place, [skipped(3), number("a", 2)]).await;
    are_applied(&tally.place, "a", [0, 2]).await;
    assert!(aside(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn a_type_that_nobody_knows_is_not_even_read_and_leaves_no_hole() {
    let tally = Tally::start().await;
    for (version, r#type) in [(0, "number.completed"), (1, "number.skipped")] {
        let headers = Sent {
            r#type,
            ..number("a", version)
        }
        .headers();
        let subject = format!("{}.{type}.a", tally.place.name);
        publish(&tally.place, subject, headers, b"\xff no json".as_slice()).await;
    }
    send(&tally.place, [number("a", 2)]).await;
    are_applied(&tally.place, "a", [2]).await;
    assert!(dead_letters(&tally.place).await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn a_message_without_headers_is_taken_by_its_subject_and_its_payload() {
    let tally = Tally::start().await;
    for version in 0..2 {
        let subject = format!("{}.number.added.a", tally.place.name);
        let payload = json!({ "version": version, "add": 1 }).to_string();
        publish(&tally.place, subject, HeaderMap::new(), payload).await;
    }
    are_applied(&tally.place, "a", 0..2).await;
    tally.finish().await;
}

#[tokio::test]
async fn a_message_without_a_version_is_dead_and_holds_nobody_back() {
    let tally = Tally::start().await;
    let subject = format!("{}.number.added.a", tally.place.name);
    publish(&tally.place, subject, HeaderMap::new(), "{}").await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    acknowledged(&tally.place).await;
    let letters = dead_letters(&tally.place).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].get_str("state").unwrap(), "dead");
    tally.finish().await;
}

#[tokio::test]
async fn another_message_of_a_version_that_is_applied_is_told_as_an_error() {
    let (log, _guard) = Log::capture();
    let tally = Tally::start().await;
    send(&tally.place, [number("a", 0), number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    acknowledged(&tally.place).await;
    eventually("it is told", async || {
        !log.lines_with("another message of this version").is_empty()
    })
    .await;
    tally.finish().await;
}

#[tokio::test]
async fn what_becomes_of_messages_is_counted_and_what_is_put_aside_is_told_to_scrapers() {
    let counters = Counters::start();
    let tally = Tally::start().await;
    let messages = [
        number("a", 0),
        number("a", 0),
        then("b", 0, json!("refuse")),
        number("c", 2),
    ];
    send(&tally.place, messages).await;
    let completed = Sent {
        r#type: "number.completed",
        ..number("a", 1)
    };
    send(&tally.place, [completed]).await;
    are_applied(&tally.place, "a", [0]).await;
    acknowledged(&tally.place).await;
    are_aside(&tally.place, "c", &[(2, "waiting")]).await;
    are_aside(&tally.place, "b", &[(0, "dead")]).await;
    let counted = |series: &str| counters.count(&format!("inbox_{series}"));
    assert_eq!(counted("applied_total{consumer=\"tally\"}"), 1);
    assert_eq!(counted("conflicts_total{consumer=\"tally\"}"), 1);
    assert_eq!(
        counted("skipped_total{consumer=\"tally\",reason=\"type\"}"),
        1
    );
    assert_eq!(
        counted("put_aside_total{consumer=\"tally\",state=\"dead\"}"),
        1
    );
    assert_eq!(
        counted("put_aside_total{consumer=\"tally\",state=\"waiting\"}"),
        1
    );
    assert_eq!(counted("stream_missing{consumer=\"tally\"}"), 0);
    assert!(
        messaging::read_inbox_figures(&tally.inbox, &[CONSUMER])
            .await
            .is_some()
    );
    for (state, count) in [("waiting", 1), ("retrying", 0), ("dead", 1)] {
        let series = format!("dead_letters{{consumer=\"tally\",state=\"{state}\"}}");
        assert_eq!(counted(&series), count, "{state}");
    }
    tally.finish().await;
}
