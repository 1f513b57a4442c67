//! Database and stream do not agree: one of them was set back, or lost something.

use std::time::Duration;

use async_nats::jetstream;
use bson::{Document, doc};
use messaging::{Outbox, replay};
use testbed::{eventually, nats_url, plant, stream};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    counters::Counters,
    log::Log,
    toy::{Place, Toy, event, published},
};

/// The server knows no id any more that came before.
pub(crate) async fn ids_are_forgotten(place: &Place) {
    let client = async_nats::connect(nats_url()).await.unwrap();
    let jetstream = jetstream::new(client);
    // Its id is younger than theirs.
    let is_duplicate = async || {
        let probe = format!("{}.counter.probe", place.name);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", "probe");
        let sent = jetstream.publish_with_headers(probe, headers, "".into());
        sent.await.unwrap().await.unwrap().duplicate
    };
    is_duplicate().await;
    eventually("the ids are forgotten", async || !is_duplicate().await).await;
}

/// A counter of four versions, all published, whose ids the server has forgotten.
async fn counted_to_four() -> (Toy, String) {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let key = toy.create().await;
    for _ in 0..3 {
        toy.update(&key).await;
    }
    toy.place.drained().await;
    ids_are_forgotten(&toy.place).await;
    (toy, key)
}

async fn lose(place: &Place, key: &str, lost: &str) {
    for message in place.messages().await {
        let version = message.headers.get("ce-keyversion");
        if message.subject.ends_with(key) && version.is_some_and(|version| version.as_str() == lost)
        {
            stream(place)
                .await
                .delete_message(message.sequence)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn after_mongodb_was_set_back_a_version_that_the_stream_has_already_is_parked_and_never_marked()
 {
    for restarts in [false, true] {
        let (mut toy, key) = counted_to_four().await;
        let database = toy.place.database().await;
        let events = database.collection::<Document>("events");
        let later = doc! { "key": &key, "version": { "$gte": 2 } };
        events.delete_many(later).await.unwrap();
        let set_back = doc! { "$set": { "value": 2_i64 } };
        let counters = database.collection::<Document>("counters");
        counters
            .update_one(doc! { "_id": &key }, set_back)
            .await
            .unwrap();
        if restarts {
            toy = Toy::start_at(toy.stop().await).await;
        }
        toy.update(&key).await;
        eventually("it is parked", async || toy.place.parked().await.len() == 1).await;
        let parked = toy.place.parked().await.remove(0);
        let reason = parked.get_str("reason").unwrap();
        assert!(reason.starts_with("conflict"), "{reason}");
        assert_eq!(parked.get_i64("version").unwrap(), 2);
        assert_eq!(published(&toy.place, &key).await, [0, 1, 2, 3]);
        let unsent = events.count_documents(doc! { "sent": "NO" }).await.unwrap();
        assert_eq!(unsent, 1);
        toy.create().await;
        toy.stop().await.remove().await;
    }
}

#[tokio::test]
async fn a_lost_version_is_published_again_and_a_later_one_whose_mark_was_lost_is_not() {
    let (toy, key) = counted_to_four().await;
    toy.update(&key).await;
    toy.place.drained().await;
    lose(&toy.place, &key, "1").await;
    ids_are_forgotten(&toy.place).await;
    let place = toy.stop().await;
    let (db, outbox) = place.prepared().await;
    let unmarked = doc! { "$set": { "sent": "NO" }, "$unset": { "sentAt": "" } };
    let events = db.collection::<Document>("events");
    events
        .update_one(doc! { "version": 4 }, unmarked)
        .await
        .unwrap();
    let jetstream = place.jetstream().await;
    jetstream.connected().await;
    let range = replay::Range {
        since: bson::DateTime::from_millis(0),
        until: bson::DateTime::MAX,
        key: None,
    };
    let found = replay::find_lost(&outbox, &jetstream, &range, |_, _| {})
        .await
        .unwrap();
    assert_eq!(found.lost.len(), 1);
    replay::give_back(&outbox, &found.lost).await.unwrap();

    let toy = Toy::start_at(place).await;
    toy.place.drained().await;
    toy.update(&key).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &key).await, [0, 2, 3, 4, 1, 5]);
    let messages = toy.place.messages().await;
    let reached = messages
        .iter()
        .filter_map(|message| message.headers.get("outbox-reached"));
    assert_eq!(reached.map(|it| it.as_str()).collect::<Vec<_>>(), ["4"]);
    toy.finish().await;
}

#[tokio::test]
async fn a_version_that_is_missing_below_the_one_that_is_published_is_told_as_an_error() {
    const LACKS: &str = "the stream lacks a version";
    let (counters, (log, _guard)) = (Counters::start(), Log::capture());
    for restarts in [false, true] {
        let (mut toy, key) = counted_to_four().await;
        let before = log.lines_with(LACKS).len();
        lose(&toy.place, &key, "3").await;
        if restarts {
            toy = Toy::start_at(toy.stop().await).await;
        }
        toy.update(&key).await;
        toy.place.drained().await;
        assert_eq!(published(&toy.place, &key).await, [0, 1, 2, 4]);
        let told = log.lines_with(LACKS);
        assert_eq!(told.len(), before + 1);
        assert!(
            told[before].contains("ERROR") && told[before].contains("missing=3"),
            "{told:?}"
        );
        assert_eq!(counters.count("outbox_gaps_total"), told.len() as u64);
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_delays_its_own_key_until_it_is_gone() {
    let toy = Toy::start().await;
    toy.create().await;
    toy.place.drained().await;
    let subject = format!("{}.counter.updated.a", toy.place.name);
    let headers = b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n";
    let address = nats_url().split_once("://").unwrap().1.to_owned();
    let mut raw = TcpStream::connect(address).await.unwrap();
    let length = headers.len();
    let publish = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB {subject} {length} {length}\r\n"
    );
    raw.write_all(publish.as_bytes()).await.unwrap();
    raw.write_all(headers).await.unwrap();
    raw.write_all(b"\r\n").await.unwrap();
    let of_stream = stream(&toy.place).await;
    eventually("it is stored", async || {
        of_stream.get_info().await.unwrap().state.messages == 2
    })
    .await;
    plant(&toy.place, [event("a", 0, doc! {})]).await;
    let other = toy.create().await;
    let outbox = Outbox::new(&toy.place.db().await);
    eventually("another key goes on", async || {
        outbox.status().await.unwrap().unsent == 1
    })
    .await;
    assert!(toy.place.parked().await.is_empty());
    of_stream.delete_message(2).await.unwrap();
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "a").await, [0]);
    assert_eq!(published(&toy.place, &other).await, [0]);
    toy.finish().await;
}
