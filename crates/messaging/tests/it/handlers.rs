//! What handlers do, and what becomes of a message that one does not apply.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::json;
use testbed::{Mongo, eventually, fail, nats_url};

use crate::{
    log::Log,
    sent::{
        Sent, applied, are_applied, are_aside, aside, dead_letters, number, numbers, publish, send,
        then,
    },
    tally::Tally,
    toy::Place,
};

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
async fn what_its_handler_wants_again_and_again_is_asked_after_delays_that_grow() {
    let tally = Tally::start().await;
    send(&tally.place, [then("a", 0, json!({ "again": 1_000 }))]).await;
    let attempts = |letter: &Document| letter.get_i64("attempts").unwrap();
    eventually("it was asked four times", async || {
        let letters = dead_letters(&tally.place).await;
        letters.first().is_some_and(|letter| attempts(letter) >= 4)
    })
    .await;
    let letter = dead_letters(&tally.place).await.remove(0);
    let doubled = u32::try_from(attempts(&letter)).unwrap() - 1;
    let least = tally.place.timing.first_retry * 2_u32.pow(doubled);
    let delay_ms = letter.get_i64("delayMs").unwrap();
    assert!(delay_ms >= least.as_millis() as i64, "{letter}");
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
async fn of_a_payload_that_cannot_be_read_it_is_told_where_and_never_what_stands_there() {
    let (log, _guard) = Log::capture();
    let tally = Tally::start().await;
    let sent = Sent {
        payload: json!({ "add": "s3cret" }),
        ..number("a", 0)
    };
    send(&tally.place, [sent]).await;
    are_aside(&tally.place, "a", &[(0, "dead")]).await;
    let letter = dead_letters(&tally.place).await.remove(0);
    let line = log.told("a message is a dead letter").await;
    for told in [letter.get_str("reason").unwrap(), &line] {
        assert!(told.contains("Data error in line 1, column "), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
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

/// Another transaction, which is not over, has written what the handler writes.
#[tokio::test]
async fn a_write_conflict_delays_its_own_key_only_and_counts_no_attempt() {
    let tally = Tally::start().await;
    let database = tally.place.database().await;
    let totals = database.collection::<Document>("totals");
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let other = doc! { "$set": { "note": "somebody else's" } };
    let held = totals.update_one(doc! { "_id": "a" }, other).upsert(true);
    held.session(&mut session).await.unwrap();
    send(&tally.place, [number("a", 0), number("b", 0)]).await;
    are_applied(&tally.place, "b", [0]).await;
    eventually("it was tried", async || tally.calls("a", 0) > 1).await;
    session.abort_transaction().await.unwrap();
    are_applied(&tally.place, "a", [0]).await;
    assert!(dead_letters(&tally.place).await.is_empty());
    tally.finish().await;
}

/// Its pause ends with the stop, and its turn before anybody has looked.
#[tokio::test]
async fn a_consumer_stops_while_a_message_waits_to_be_tried_again() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    place.timing.first_retry = Duration::from_secs(3600);
    place.timing.longest_retry = Duration::from_secs(3600);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    let admin = tally.place.database().await.client().database("admin");
    let pings = async || {
        let status = admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
        let metrics = status.get_document("metrics").unwrap();
        let commands = metrics.get_document("commands").unwrap();
        let ping = commands.get_document("ping").unwrap();
        ping.get_i64("total").unwrap()
    };
    let before = pings().await;
    let fails = doc! { "errorCode": 365, "errorLabels": [] };
    fail(&tally.place, "alwaysOn", "update", fails).await;
    send(&tally.place, [number("a", 0)]).await;
    eventually("MongoDB is asked whether it answers", async || {
        pings().await > before
    })
    .await;
    fail(&tally.place, "off", "update", doc! {}).await;
    tally.stop().await.remove().await;
}
