//! A handler that takes long, and what comes behind it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use db::{Abort, Db};
use messaging::Consumer;
use serde_json::json;
use testbed::eventually;

use crate::{
    counters::Counters,
    log::Log,
    sent::{
        Sent, acknowledged, applied, are_applied, are_aside, aside, dead_letters, durable, number,
        numbers, send, then,
    },
    tally::{Context, Tally, each_version, newest_only},
    toy::Place,
};

/// More than may be in hand.
const MANY: i64 = 550;

async fn place() -> Place {
    let mut place = Place::new();
    place.timing.inbox.progress = Duration::from_millis(500);
    place.timing.inbox.sweep = Duration::from_secs(3600);
    numbers(&place).await;
    place
}

/// However long it takes, as long as it goes on.
async fn all_are_applied(place: &Place) {
    for least in (100..=MANY).step_by(50) {
        eventually("more are applied", async || {
            applied(place, "a").await.len() as i64 >= least
        })
        .await;
    }
    are_applied(place, "a", 0..MANY).await;
}

#[tokio::test]
async fn messages_behind_a_slow_one_are_put_aside_and_hold_no_other_key_up() {
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    send(&place, (1..MANY).map(|version| number("a", version))).await;
    send(&place, [number("b", 0)]).await;
    let tally = Tally::of(place, each_version()).await;
    are_applied(&tally.place, "b", [0]).await;
    assert_eq!(applied(&tally.place, "a").await, [0; 0]);
    tally.gate.send_replace(true);
    all_are_applied(&tally.place).await;
    // What was put aside met no conflict with the handler.
    assert_eq!(tally.calls("a", 0), 1);
    assert!(aside(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn slow_keys_leave_room_for_others_as_long_as_they_leave_places() {
    let place = place().await;
    let keys: Vec<String> = (0..20).map(|key| format!("slow-{key}")).collect();
    let slow = |key| {
        std::iter::once(then(key, 0, json!("wait")))
            .chain((1..28).map(move |version| number(key, version)))
    };
    send(&place, keys.iter().flat_map(|key| slow(key))).await;
    send(&place, [number("b", 0)]).await;
    let tally = Tally::of(place, each_version()).await;
    are_applied(&tally.place, "b", [0]).await;
    tally.gate.send_replace(true);
    for key in &keys {
        are_applied(&tally.place, key, 0..28).await;
    }
    tally.finish().await;
}

#[tokio::test]
async fn slow_keys_of_large_messages_leave_room_for_others() {
    let place = place().await;
    let keys: Vec<String> = (0..20).map(|key| format!("slow-{key}")).collect();
    let large = |key| Sent {
        payload: json!({ "add": 1, "then": "wait", "note": "x".repeat(1_000_000) }),
        ..number(key, 0)
    };
    send(&place, keys.iter().map(|key| large(key))).await;
    send(&place, [number("b", 0)]).await;
    let tally = Tally::of(place, each_version()).await;
    are_applied(&tally.place, "b", [0]).await;
    tally.gate.send_replace(true);
    for key in &keys {
        are_applied(&tally.place, key, [0]).await;
    }
    tally.finish().await;
}

#[tokio::test]
async fn a_handler_that_takes_long_is_no_stall_of_mongodb() {
    let (log, _guard) = Log::capture();
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    let tally = Tally::of(place, each_version()).await;
    eventually("it hangs", async || tally.calls("a", 0) == 1).await;
    let began = Instant::now();
    // For longer than a stall is waited for.
    while began.elapsed() < Duration::from_secs(6) {
        assert!(applied(&tally.place, "a").await.is_empty());
    }
    assert_eq!(log.lines_with("not answered"), [""; 0]);
    tally.gate.send_replace(true);
    are_applied(&tally.place, "a", [0]).await;
    tally.finish().await;
}

/// An instance is killed when much is put aside behind a slow message. The transaction of that one ends all the same.
async fn dies_behind_a_slow_one(place: &Place, consumer: Consumer<Context>) {
    let tally = Tally::of(place.clone(), consumer).await;
    eventually("much is put aside", async || {
        dead_letters(place).await.len() > 200
    })
    .await;
    let gate = tally.gate.clone();
    tally.kill();
    gate.send_replace(true);
    eventually("the first is applied", async || {
        applied(place, "a").await == [0]
    })
    .await;
}

#[tokio::test]
async fn what_was_put_aside_behind_a_slow_message_is_found_where_its_instance_dies() {
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    send(&place, (1..MANY).map(|version| number("a", version))).await;
    dies_behind_a_slow_one(&place, each_version()).await;
    let second = Tally::of(place, each_version()).await;
    all_are_applied(&second.place).await;
    assert!(aside(&second.place, "a").await.is_empty());
    second.finish().await;
}

#[tokio::test]
async fn of_newest_only_what_was_put_aside_is_found_whatever_is_missing_before_it() {
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    // There is no version 1.
    send(&place, (2..MANY).map(|version| number("a", version))).await;
    dies_behind_a_slow_one(&place, newest_only()).await;
    testbed::stream(&place).await.purge().await.unwrap();
    let letters = place.database().await.collection::<Document>("deadLetters");
    let newest = doc! { "_id.version": { "$gt": 100_i64 } };
    letters.delete_many(newest).await.unwrap();
    let second = Tally::of(place, newest_only()).await;
    are_applied(&second.place, "a", [0, 100]).await;
    assert!(aside(&second.place, "a").await.is_empty());
    second.finish().await;
}

#[tokio::test]
async fn of_newest_only_what_comes_behind_a_slow_one_is_resolved_by_the_newest() {
    let place = place().await;
    send(&place, [then("a", 0, json!("wait"))]).await;
    send(&place, (1..MANY).map(|version| number("a", version))).await;
    send(&place, [number("b", 0)]).await;
    let tally = Tally::of(place, newest_only()).await;
    are_applied(&tally.place, "b", [0]).await;
    tally.gate.send_replace(true);
    acknowledged(&tally.place).await;
    eventually("the newest is applied", async || {
        applied(&tally.place, "a").await.last() == Some(&(MANY - 1))
    })
    .await;
    eventually("nothing is left", async || {
        aside(&tally.place, "a").await.is_empty()
    })
    .await;
    assert!(applied(&tally.place, "a").await.is_sorted());
    assert_eq!(durable(&tally.place).await.unwrap().num_ack_pending, 0);
    tally.finish().await;
}

/// As a request does.
async fn write(db: &Db) -> Result<(), db::TransactionError<Infallible>> {
    let written = db.transaction(db.clone(), |session, db| {
        Box::pin(async move {
            let totals = db.collection::<Document>("totals");
            let write = totals.insert_one(doc! { "sum": 0_i64, "applied": [] });
            write.session(session).await?;
            Ok::<_, Abort<Infallible>>(())
        })
    });
    written.await
}

#[tokio::test]
async fn handlers_that_hang_leave_places_to_requests_however_few_there_are() {
    let mut place = place().await;
    place.mongo_uri += "&maxPoolSize=10";
    let keys: Vec<String> = (0..40).map(|key| format!("key-{key}")).collect();
    send(&place, keys.iter().map(|key| then(key, 0, json!("wait")))).await;
    let tally = Tally::of(place, each_version()).await;
    let asked = || keys.iter().filter(|key| tally.calls(key, 0) > 0).count();
    eventually("handlers hang", async || asked() >= 4).await;
    write(&tally.db).await.unwrap();
    assert_eq!(asked(), 4);
    tally.gate.send_replace(true);
    tally.finish().await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_ends_with_its_transaction() {
    let mut place = place().await;
    place.timing.inbox.handler_limit = Duration::from_secs(1);
    place.timing.first_retry = Duration::from_secs(60);
    send(&place, [then("a", 0, json!("wait"))]).await;
    let tally = Tally::of(place, each_version()).await;
    are_aside(&tally.place, "a", &[(0, "retrying")]).await;
    // What it has written is free: else this would be a conflict.
    let database = tally.place.database().await;
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let totals = database.collection::<Document>("totals");
    let write = doc! { "$set": { "note": "somebody else's" } };
    let written = totals.update_one(doc! { "_id": "a" }, write).upsert(true);
    written.session(&mut session).await.unwrap();
    session.abort_transaction().await.unwrap();
    tally.finish().await;
}

#[tokio::test]
async fn the_wait_for_a_place_does_not_count_as_the_handlers_time() {
    let mut place = place().await;
    place.mongo_uri += "&maxPoolSize=10";
    place.timing.inbox.handler_limit = Duration::from_millis(300);
    let counters = Counters::start();
    let tally = Tally::of(place, each_version()).await;
    let (opens, gate) = tokio::sync::watch::channel(false);
    // Requests have all places.
    let begun = Arc::new(AtomicUsize::new(0));
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (db, context) = (tally.db.clone(), (gate.clone(), Arc::clone(&begun)));
            tokio::spawn(async move {
                let held = db.transaction(context, |_, (gate, begun)| {
                    Box::pin(async move {
                        begun.fetch_add(1, Ordering::Relaxed);
                        drop(gate.clone().wait_for(|is_open| *is_open).await);
                        Ok::<_, Abort<Infallible>>(())
                    })
                });
                held.await.unwrap();
            })
        })
        .collect();
    eventually("all places are taken", async || {
        begun.load(Ordering::Relaxed) == 8
    })
    .await;
    send(&tally.place, [number("a", 0)]).await;
    eventually("it is delivered", async || {
        durable(&tally.place).await.unwrap().num_ack_pending == 1
    })
    .await;
    let later = Duration::from_secs(1);
    tokio::time::timeout(later, are_applied(&tally.place, "a", [0]))
        .await
        .unwrap_err();
    opens.send_replace(true);
    are_applied(&tally.place, "a", [0]).await;
    let retried = "inbox_put_aside_total{consumer=\"tally\",state=\"retrying\"}";
    assert_eq!(counters.count(retried), 0);
    for request in requests {
        request.await.unwrap();
    }
    tally.finish().await;
}
