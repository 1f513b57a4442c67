use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const EVENTS: [EventType; 2] = [
    EventType::of::<Value>("order.created"),
    EventType::of::<Value>("order.updated"),
];

/// A server that is not there.
pub(crate) fn nowhere(prefix: &str) -> NatsOptions {
    NatsOptions {
        nats_subject_prefix: prefix.to_owned(),
        ..db::setting::options([
            "--nats-url=nats://127.0.0.1:1",
            "--nats-stream=SHOP",
            "--nats-replicas=3",
            "--nats-duplicate-window=7s",
        ])
        .unwrap()
    }
}

/// As if there were a connection.
pub(crate) fn connected(jetstream: &JetStream) -> JetStream {
    JetStream {
        connected: watch::channel(true).1,
        ..jetstream.clone()
    }
}

pub(super) async fn jetstream(prefix: &str) -> JetStream {
    JetStream::connect(&nowhere(prefix), "shop", &EVENTS, Timing::default())
        .await
        .unwrap()
}

#[test]
fn a_stream_that_is_not_there_is_told_from_one_that_cannot_be_asked() {
    let answer = |err_code: u64| {
        let answer = json!({ "code": 404, "err_code": err_code, "description": "" });
        let kind = GetStreamErrorKind::JetStream(serde_json::from_value(answer).unwrap());
        GetStreamError::new(kind)
    };
    assert!(is_no_stream(&answer(10059)));
    // The cluster has no leader.
    assert!(!is_no_stream(&answer(10008)));
    assert!(!is_no_stream(&GetStreamError::new(
        GetStreamErrorKind::Request
    )));
}

#[tokio::test]
async fn a_stream_is_made_as_it_is_configured() {
    let stream = jetstream("test").await.stream;
    assert_eq!(stream.name, "SHOP");
    assert_eq!(stream.subjects, ["test.order.>"]);
    assert_eq!(stream.num_replicas, 3);
    assert_eq!(stream.duplicate_window, Duration::from_secs(7));
    assert_eq!(jetstream("").await.stream.subjects, ["order.>"]);
}

#[tokio::test]
async fn a_subject_of_the_stream_is_below_its_root_and_has_no_wildcard() {
    let jetstream = jetstream("test").await;
    assert!(jetstream.is_of_stream("test.order.created.1"));
    for other in [
        "order.created.1",
        "test.invoice.created.1",
        "test.order.",
        "test.order",
        "test.order.created.*",
        "test.order.>",
        "test.order.created 1",
        "test.order..1",
        "",
    ] {
        assert!(!jetstream.is_of_stream(other), "{other}");
    }
}
