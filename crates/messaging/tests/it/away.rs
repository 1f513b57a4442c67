//! A server, a stream or a consumer that is away: it is waited for, nothing is lost, and no message pays for it.

use std::time::Duration;

use async_nats::jetstream::stream;
use bson::doc;
use serde_json::json;
use testbed::{Mongo, Nats, at_the_next, eventually, mongo_uri, nats_url};

use crate::{
    log::Log,
    sent::{
        acknowledged, applied, are_applied, are_aside, aside, consumer_is_deleted, dead_letters,
        durable, jetstream, number, numbers, send, then,
    },
    tally::{Tally, each_version},
    toy::Place,
};

#[tokio::test]
async fn a_stream_that_is_missing_is_waited_for_with_one_line() {
    let (log, _guard) = Log::capture();
    let tally = Tally::start_at(Place::new()).await;
    let line = "the stream's consumer cannot be used; it is waited for";
    eventually("it is told", async || !log.lines_with(line).is_empty()).await;
    numbers(&tally.place).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    assert_eq!(log.lines_with(line).len(), 1);
    tally.finish().await;
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_made_again_and_nothing_is_applied_twice() {
    let tally = Tally::start().await;
    send(&tally.place, (0..3).map(|version| number("a", version))).await;
    are_applied(&tally.place, "a", 0..3).await;
    consumer_is_deleted(&tally.place).await;
    send(&tally.place, [number("a", 3)]).await;
    are_applied(&tally.place, "a", 0..4).await;
    // It was sent all of them once more.
    acknowledged(&tally.place).await;
    assert_eq!(
        durable(&tally.place)
            .await
            .unwrap()
            .delivered
            .consumer_sequence,
        4
    );
    tally.finish().await;
}

#[tokio::test]
async fn a_stream_that_is_deleted_and_restored_to_an_earlier_time_goes_on_behind_the_marks() {
    let tally = Tally::start().await;
    let sent = |version| crate::sent::Sent {
        id: Some(format!("a-{version}")),
        ..number("a", version)
    };
    send(&tally.place, (0..4).map(sent)).await;
    are_applied(&tally.place, "a", 0..4).await;
    let context = jetstream(&tally.place).await;
    context.delete_stream(&tally.place.stream).await.unwrap();
    numbers(&tally.place).await;
    // As it was when there were two of them; its publisher publishes the rest again.
    send(&tally.place, (0..6).map(sent)).await;
    are_applied(&tally.place, "a", 0..6).await;
    assert!(dead_letters(&tally.place).await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn while_mongodb_is_away_nothing_is_acknowledged_and_no_attempt_is_counted() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    mongo.kill();
    let keys: Vec<String> = (0..50).map(|key| format!("key-{key}")).collect();
    send(&tally.place, keys.iter().map(|key| number(key, 0))).await;
    send(&tally.place, (1..4).map(|version| number("a", version))).await;
    eventually("they are sent", async || {
        durable(&tally.place).await.unwrap().num_ack_pending == 53
    })
    .await;
    mongo.start().await;
    are_applied(&tally.place, "a", 0..4).await;
    acknowledged(&tally.place).await;
    for key in &keys {
        assert_eq!(applied(&tally.place, key).await, [0]);
    }
    assert!(dead_letters(&tally.place).await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn nats_may_be_away_before_and_after_messages_are_in_hand() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.inbox.ack_wait = Duration::from_secs(1);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(
        &tally.place,
        [then("a", 0, json!("wait")), number("a", 1), number("b", 0)],
    )
    .await;
    are_applied(&tally.place, "b", [0]).await;
    eventually("its handler is asked", async || tally.calls("a", 0) > 0).await;
    nats.kill();
    tally.gate.send_replace(true);
    are_applied(&tally.place, "a", 0..2).await;
    nats.start().await;
    send(&tally.place, [number("a", 2)]).await;
    are_applied(&tally.place, "a", 0..3).await;
    acknowledged(&tally.place).await;
    tally.stop().await;
}

/// A server that stops tells whoever pulls before it closes connections; what it is asked then stays without an answer.
#[tokio::test]
async fn a_consumer_goes_on_as_soon_as_nats_is_back_whatever_was_asked_before() {
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    // Longer than a test lasts.
    place.timing.ack_timeout = Duration::from_secs(3600);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    for version in 0..4 {
        send(&tally.place, [number("a", version)]).await;
        are_applied(&tally.place, "a", 0..=version).await;
        for node in &mut nats.nodes {
            node.terminate().await.unwrap();
        }
        nats.start().await;
    }
    tally.finish().await;
}

#[tokio::test]
async fn two_services_with_a_consumer_of_one_name_do_not_take_messages_from_each_other() {
    let first = Tally::start().await;
    let mut other = first.place.clone();
    // A database of its own.
    let database = format!("{}-other", other.name);
    other.mongo_uri = other
        .mongo_uri
        .replace(&format!("/{}?", other.name), &format!("/{database}?"));
    let second = Tally::named(other, each_version(), "another").await;
    send(&first.place, (0..3).map(|version| number("a", version))).await;
    are_applied(&first.place, "a", 0..3).await;
    let totals = first.place.database().await.client().database(&database);
    let totals = totals.collection::<bson::Document>("totals");
    let is_applied = doc! { "_id": "a", "sum": 3_i64 };
    eventually("the other applies them too", async || {
        totals.count_documents(is_applied.clone()).await.unwrap() == 1
    })
    .await;
    second.stop().await;
    let client = first.place.database().await.client().clone();
    client.database(&database).drop().await.unwrap();
    first.finish().await;
}

#[tokio::test]
async fn instances_share_the_work() {
    let first = Tally::start().await;
    let second = Tally::start_at(first.place.clone()).await;
    eventually("both ask for messages", async || {
        let info = durable(&first.place).await;
        info.is_some_and(|info| info.num_waiting == 2)
    })
    .await;
    let keys: Vec<String> = (0..20).map(|key| format!("key-{key}")).collect();
    for version in 0..5 {
        send(&first.place, keys.iter().map(|key| number(key, version))).await;
    }
    for key in &keys {
        are_applied(&first.place, key, 0..5).await;
    }
    let did = |tally: &Tally| {
        keys.iter()
            .filter(|key| (0..5).any(|version| tally.calls(key, version) > 0))
            .count()
    };
    assert!(
        did(&first) > 0 && did(&second) > 0,
        "{} {}",
        did(&first),
        did(&second)
    );
    second.stop().await;
    first.finish().await;
}

#[tokio::test]
async fn a_stream_whose_clock_or_limits_change_does_not_matter_to_what_is_put_aside() {
    let tally = Tally::start().await;
    send(&tally.place, [number("a", 1)]).await;
    are_aside(&tally.place, "a", &[(1, "waiting")]).await;
    let context = jetstream(&tally.place).await;
    let stream = context.get_stream(&tally.place.stream).await.unwrap();
    let config = stream::Config {
        max_messages: 1,
        ..stream.cached_info().config.clone()
    };
    context.update_stream(config).await.unwrap();
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", 0..2).await;
    assert!(aside(&tally.place, "a").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn a_commit_that_fails_leaves_neither_a_total_nor_an_event_nor_a_mark() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    let refused = doc! { "errorCode": 251, "errorLabels": ["TransientTransactionError"] };
    at_the_next(&tally.place, "commitTransaction", refused).await;
    send(&tally.place, [number("a", 1)]).await;
    are_applied(&tally.place, "a", 0..2).await;
    assert_eq!(tally.calls("a", 1), 2);
    tally.finish().await;
}

#[tokio::test]
async fn a_commit_whose_outcome_is_not_known_is_not_acknowledged_and_nothing_is_applied_twice() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    // It is committed, and the server does not know on how many members.
    let lost =
        doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    at_the_next(&tally.place, "commitTransaction", lost).await;
    send(&tally.place, (1..3).map(|version| number("a", version))).await;
    are_applied(&tally.place, "a", 0..3).await;
    assert!(dead_letters(&tally.place).await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn after_mongodb_was_set_back_a_consumer_that_is_made_again_brings_what_is_missing() {
    let tally = Tally::start().await;
    send(&tally.place, (0..2).map(|version| number("a", version))).await;
    are_applied(&tally.place, "a", 0..2).await;
    let database = tally.place.database().await;
    let backup = async |name: &str| {
        let documents = database
            .collection::<bson::Document>(name)
            .find(doc! {})
            .await;
        let documents: Vec<_> = futures_util::TryStreamExt::try_collect(documents.unwrap())
            .await
            .unwrap();
        (name.to_owned(), documents)
    };
    let backups = [
        backup("inbox").await,
        backup("totals").await,
        backup("events").await,
    ];
    send(&tally.place, (2..5).map(|version| number("a", version))).await;
    are_applied(&tally.place, "a", 0..5).await;
    acknowledged(&tally.place).await;
    let place = tally.stop().await;
    for (name, documents) in backups {
        let collection = database.collection::<bson::Document>(&name);
        collection.delete_many(doc! {}).await.unwrap();
        collection.insert_many(documents).await.unwrap();
    }
    consumer_is_deleted(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 5)]).await;
    are_applied(&tally.place, "a", 0..6).await;
    tally.finish().await;
}
