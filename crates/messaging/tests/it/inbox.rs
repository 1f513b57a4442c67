//! What is applied: each message once, each key in the order of its versions.

use std::time::Duration;

use async_nats::HeaderMap;
use serde_json::json;
use testbed::eventually;

use crate::{
    log::Log,
    tally::{
        Sent, Tally, acknowledged, applied, are_applied, are_aside, aside, dead_letters,
        newest_only, number, numbers, publish, send, then,
    },
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
async fn a_payload_that_cannot_be_read_is_dead_and_is_kept_as_it_came() {
    let tally = Tally::start().await;
    let sent = number("a", 0);
    let subject = format!("{}.number.added.a", tally.place.name);
    publish(
        &tally.place,
        subject.clone(),
        sent.headers(),
        b"{\xff".as_slice(),
    )
    .await;
    send(&tally.place, [number("a", 1), number("b", 0)]).await;
    are_applied(&tally.place, "b", [0]).await;
    are_aside(&tally.place, "a", &[(0, "dead"), (1, "waiting")]).await;
    let letter = dead_letters(&tally.place).await.remove(0);
    assert_eq!(letter.get_binary_generic("payload").unwrap(), b"{\xff");
    let headers = letter.get_binary_generic("headers").unwrap();
    let headers = String::from_utf8_lossy(headers);
    assert!(headers.contains("ce-keyversion: 0\r\n"), "{headers}");
    assert_eq!(letter.get_str("subject").unwrap(), subject);
    assert_eq!(letter.get_i64("sequence").unwrap(), 1);
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
async fn what_a_handler_records_goes_on_with_the_messages_trace() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let tally = Tally::start().await;
    let sent = number("a", 0);
    let mut headers = sent.headers();
    headers.insert("traceparent", TRACE);
    let subject = format!("{}.number.added.a", tally.place.name);
    publish(&tally.place, subject, headers, sent.payload.to_string()).await;
    are_applied(&tally.place, "a", [0]).await;
    let event = tally.place.events().await.remove(0);
    assert_eq!(event.get_str("traceparent").unwrap(), TRACE);
    tally.finish().await;
}

#[tokio::test]
async fn a_write_that_the_server_refuses_is_tried_again_and_holds_back_its_own_key_only() {
    let tally = Tally::start().await;
    send(&tally.place, [then("a", 0, json!("fail")), number("b", 0)]).await;
    are_applied(&tally.place, "b", [0]).await;
    are_aside(&tally.place, "a", &[(0, "retrying")]).await;
    eventually("it is asked again", async || tally.calls("a", 0) > 2).await;
    assert!(applied(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_asked_again() {
    let mut place = Place::new();
    place.timing.inbox.handler_limit = Duration::from_millis(300);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [then("a", 0, json!("wait")), number("b", 0)]).await;
    are_applied(&tally.place, "b", [0]).await;
    are_aside(&tally.place, "a", &[(0, "retrying")]).await;
    tally.gate.send_replace(true);
    are_applied(&tally.place, "a", [0]).await;
    eventually("nothing is left", async || {
        aside(&tally.place, "a").await.is_empty()
    })
    .await;
    tally.finish().await;
}
