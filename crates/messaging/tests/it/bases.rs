//! The base of a key whose beginning the stream has lost: nothing that is put aside may be overtaken by it.

use std::time::Duration;

use async_nats::jetstream::stream;
use serde_json::json;
use testbed::eventually;

use crate::{
    counters::Counters,
    sent::{
        acknowledged, applied, are_applied, are_aside, aside, durable, jetstream, number, numbers,
        send, then,
    },
    tally::{CONSUMER, Tally},
    toy::Place,
};

const BASES: &str = "inbox_bases_total{consumer=\"tally\"}";

/// The streams that lose their beginning: by a limit, or because what is acknowledged goes.
async fn forgetful() -> [Place; 3] {
    let places = [Place::new(), Place::new(), Place::new()];
    let [limited, interest, work] = &places;
    let config = numbers(limited).await;
    let limit = stream::Config {
        max_messages: 1,
        ..config
    };
    jetstream(limited).await.update_stream(limit).await.unwrap();
    for (place, retention) in [
        (interest, stream::RetentionPolicy::Interest),
        (work, stream::RetentionPolicy::WorkQueue),
    ] {
        let config = stream::Config {
            name: place.stream.clone(),
            subjects: vec![format!("{}.number.>", place.name)],
            retention,
            ..Default::default()
        };
        jetstream(place).await.create_stream(config).await.unwrap();
    }
    places
}

#[tokio::test]
async fn no_base_overtakes_what_is_put_aside_and_gone_from_the_stream() {
    for place in forgetful().await {
        let tally = Tally::start_at(place).await;
        eventually("it consumes", async || {
            durable(&tally.place).await.is_some()
        })
        .await;
        send(&tally.place, [then("a", 0, json!("refuse"))]).await;
        are_aside(&tally.place, "a", &[(0, "dead")]).await;
        acknowledged(&tally.place).await;
        // On the limited stream it drives out what went before.
        send(&tally.place, [number("b", 0), number("a", 1)]).await;
        acknowledged(&tally.place).await;
        assert_eq!(applied(&tally.place, "a").await, [0; 0]);
        are_aside(&tally.place, "a", &[(0, "dead"), (1, "waiting")]).await;
        tally.inbox.skip(CONSUMER, "a", "x").await.unwrap().unwrap();
        are_applied(&tally.place, "a", [1]).await;
        tally.finish().await;
    }
}

#[tokio::test]
async fn what_waits_becomes_the_base_when_the_stream_loses_what_was_before_it() {
    let counters = Counters::start();
    let mut place = Place::new();
    place.timing.inbox.sweep = Duration::from_millis(300);
    let config = numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("other", 0), number("a", 1)]).await;
    are_aside(&tally.place, "a", &[(1, "waiting")]).await;
    let limited = stream::Config {
        max_messages: 1,
        ..config
    };
    let context = jetstream(&tally.place).await;
    context.update_stream(limited).await.unwrap();
    are_applied(&tally.place, "a", [1]).await;
    // Counted after the commit.
    eventually("it is told", async || counters.count(BASES) == 1).await;
    send(&tally.place, [number("a", 2)]).await;
    are_applied(&tally.place, "a", 1..3).await;
    assert!(aside(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn a_base_that_its_handler_wants_again_stays_the_base() {
    let place = Place::new();
    let config = numbers(&place).await;
    let limited = stream::Config {
        max_messages: 2,
        ..config
    };
    jetstream(&place)
        .await
        .update_stream(limited)
        .await
        .unwrap();
    let sent = [
        number("a", 0),
        then("a", 1, json!({ "again": 3 })),
        number("a", 2),
    ];
    send(&place, sent).await;
    let tally = Tally::start_at(place).await;
    are_applied(&tally.place, "a", 1..3).await;
    assert_eq!(tally.calls("a", 1), 3);
    tally.finish().await;
}
