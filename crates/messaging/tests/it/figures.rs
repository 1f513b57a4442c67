//! The figures of outbox and inbox: those of the database, at a price that the backlog alone decides, and those of the stream.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use messaging::{Inbox, read_inbox_figures};
use serde_json::json;
use testbed::{eventually, nats_url, plant};

use crate::{
    counters::Counters,
    sent::{are_aside, number, numbers, send, then},
    tally::{CONSUMER, Tally, prepared},
    toy::{Place, event},
};

/// How many events the pipeline of a profiled command reads.
fn limit_of(asked: &Document) -> i64 {
    let command = asked.get_document("command").unwrap();
    let stages = command.get_array("pipeline").unwrap();
    let limit = |stage: &Bson| stage.as_document()?.get("$limit")?.as_i64();
    stages.iter().find_map(limit).unwrap()
}

fn told_by_operations() -> i64 {
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let operations = std::fs::read_to_string(operations).unwrap();
    let (told, _) = operations.split_once(" events at most").unwrap();
    let told = told.rsplit(' ').next().unwrap();
    told.replace(',', "").parse().unwrap()
}

#[tokio::test]
async fn the_figures_cost_the_backlog_and_never_the_history_and_read_as_much_as_operations_tells() {
    let place = Place::new();
    let database = place.database().await;
    let (_, outbox) = place.prepared().await;
    let sent = (0..3_000).map(|number| {
        let mut event = event(&format!("key-{number}"), 0, doc! {});
        event.insert("sent", "YES");
        event
    });
    plant(&place, sent).await;
    plant(
        &place,
        (1..=5).map(|version| event("key-7", version, doc! {})),
    )
    .await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let status = outbox.sampled_status().await.unwrap();
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(status.unsent, 5);
    let profile = database.collection::<Document>("system.profile");
    let events = format!("{}.events", place.name);
    let asked: Vec<Document> = profile
        .find(doc! { "ns": events })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(limit_of(&asked[0]), told_by_operations());
    for examined in ["keysExamined", "docsExamined"] {
        assert!(asked[0].get_i32(examined).unwrap() <= 6, "{asked:?}");
    }
    place.remove().await;
}

#[tokio::test]
async fn a_consumer_is_behind_as_long_as_a_message_that_it_has_is_not_acknowledged() {
    let counters = Counters::start();
    let mut place = Place::new();
    place.timing.inbox.lag = Duration::from_millis(50);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    let lag = |of: &str| counters.value(&format!("inbox_lag_{of}{{consumer=\"tally\"}}"));
    send(&tally.place, [then("a", 0, json!("wait"))]).await;
    eventually("it is in hand", async || tally.calls("a", 0) == 1).await;
    // Before it was sent to anybody, it was not so old.
    eventually("it grows old", async || {
        lag("messages") == Some(1.0) && lag("seconds").is_some_and(|seconds| seconds > 0.5)
    })
    .await;
    tally.gate.send_replace(true);
    eventually("nothing is left", async || {
        lag("messages") == Some(0.0) && lag("seconds") == Some(0.0)
    })
    .await;
    tally.finish().await;
}

#[tokio::test]
async fn of_the_messages_that_wait_the_oldest_is_told_however_young_the_others_are() {
    let counters = Counters::start();
    let tally = Tally::start().await;
    let keys = ["a", "b", "c"];
    send(&tally.place, keys.map(|key| number(key, 1))).await;
    for key in keys {
        are_aside(&tally.place, key, &[(1, "waiting")]).await;
    }
    let database = tally.place.database().await;
    let letters = database.collection::<Document>("deadLetters");
    let an_hour_ago = doc! { "$set": { "nextAt": { "$subtract": ["$$NOW", 3_600_000_i64] } } };
    let has_waited = letters.update_one(doc! { "_id.key": "b" }, vec![an_hour_ago]);
    has_waited.await.unwrap();
    let read = read_inbox_figures(&tally.inbox, &[CONSUMER]).await.unwrap();
    let told = counters.value("inbox_oldest_waiting_age_seconds{consumer=\"tally\"}");
    for seconds in [read[0].oldest_waiting_seconds, told] {
        let seconds = seconds.unwrap();
        assert!((3_600.0..3_700.0).contains(&seconds), "{seconds}");
    }
    tally.finish().await;
}

#[tokio::test]
async fn figures_of_the_inbox_that_cannot_be_read_do_not_count_as_read() {
    let counters = Counters::start();
    let place = Place::new();
    let there = prepared(&place.db().await).await;
    let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100";
    let away = Inbox::new(&Place::at(nowhere, &nats_url()).db().await);
    let read = async |inbox: &Inbox| {
        let figures = read_inbox_figures(inbox, &[CONSUMER]).await;
        let at = counters.value("inbox_status_read_timestamp_seconds");
        (figures.is_some(), at.unwrap())
    };
    assert_eq!(read(&away).await, (false, 0.0));
    let (is_read, at) = read(&there).await;
    assert!(is_read && at > 0.0, "{at}");
    assert_eq!(read(&away).await, (false, at));
    let dead = counters.value("inbox_dead_letters{consumer=\"tally\",state=\"dead\"}");
    assert!(dead.unwrap().is_nan(), "{dead:?}");
    place.remove().await;
}
