//! What is published: each event once, in order, as the contract says.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::StreamExt;
use serde_json::{Value, json};
use testbed::{Mongo, eventually, nats_url};

use crate::conflicts::ids_are_forgotten;
use crate::toy::{NAME, Place, Toy, event};

#[tokio::test]
async fn an_event_is_published_with_its_payload_headers_and_subject_and_then_marked() {
    let toy = Toy::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let id = toy.create_traced(Some(trace)).await;
    toy.update(&id).await;
    toy.place.drained().await;

    let (events, messages) = (toy.place.events().await, toy.place.messages().await);
    assert_eq!((events.len(), messages.len()), (2, 2));
    for ((event, message), (r#type, version)) in events
        .iter()
        .zip(&messages)
        .zip([("counter.created", 0), ("counter.updated", 1)])
    {
        assert_eq!(event.get_str("type").unwrap(), r#type);
        assert_eq!(event.get_str("subject").unwrap(), format!("{type}.{id}"));
        assert_eq!(event.get_str("key").unwrap(), id);
        assert_eq!(event.get_i64("version").unwrap(), version);
        assert_eq!(event.get_str("sent").unwrap(), "YES");
        assert!(event.get_datetime("sentAt").is_ok());
        let subject = format!("{}.{type}.{id}", toy.place.name);
        assert_eq!(message.subject.as_str(), subject);
        let header = |name: &str| message.headers.get(name).map(ToString::to_string);
        let event_id = event.get_object_id("_id").unwrap().to_hex();
        assert_eq!(header("Nats-Msg-Id"), Some(event_id.clone()));
        assert_eq!(header("ce-id"), Some(event_id));
        assert_eq!(header("ce-specversion").as_deref(), Some("1.0"));
        assert_eq!(header("ce-source"), Some(format!("/{NAME}")));
        assert_eq!(header("ce-type").as_deref(), Some(r#type));
        assert_eq!(header("ce-subject"), Some(id.clone()));
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        assert!(header("ce-time").unwrap().ends_with('Z'));
        let expected = (version == 0).then_some(trace);
        assert_eq!(header("traceparent").as_deref(), expected);
    }
    let payload: Value = serde_json::from_slice(&messages[0].payload).unwrap();
    assert_eq!(payload, json!({ "id": id, "version": 0, "value": 1 }));
    toy.finish().await;
}

#[tokio::test]
async fn every_event_is_published_once_and_in_order_for_its_key() {
    let toy = Toy::start().await;
    let chains = (0..40).map(async |_| {
        let id = toy.create().await;
        for _ in 1..=5 {
            toy.update(&id).await;
        }
    });
    futures_util::stream::iter(chains)
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    toy.place.drained().await;
    let mut next = HashMap::<String, i64>::new();
    for message in toy.place.messages().await {
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        let version = next
            .entry(payload["id"].as_str().unwrap().to_owned())
            .or_default();
        assert_eq!(payload["version"], *version);
        *version += 1;
    }
    assert_eq!(next.len(), 40);
    assert!(next.values().all(|published| *published == 6));
    toy.finish().await;
}

#[tokio::test]
async fn an_event_whose_copy_left_the_duplicate_window_is_not_stored_twice() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let id = toy.create().await;
    for _ in 1..=3 {
        toy.update(&id).await;
    }
    toy.place.drained().await;
    ids_are_forgotten(&toy.place).await;
    let events = toy.place.database().await.collection::<Document>("events");
    events
        .update_many(doc! {}, doc! { "$set": { "sent": "NO" } })
        .await
        .unwrap();
    toy.create().await; // rings
    toy.place.drained().await;
    let of_key = |messages: &[async_nats::jetstream::message::StreamMessage]| {
        messages
            .iter()
            .filter(|message| message.subject.ends_with(&id))
            .count()
    };
    assert_eq!(of_key(&toy.place.messages().await), 4);
    toy.finish().await;
}

#[tokio::test]
async fn a_dropped_events_collection_and_a_removed_stream_are_recovered_from() {
    let toy = Toy::start().await;
    toy.create().await;
    toy.place.drained().await;
    toy.place
        .database()
        .await
        .collection::<Document>("events")
        .drop()
        .await
        .unwrap();
    let client = async_nats::connect(&toy.place.nats_url).await.unwrap();
    async_nats::jetstream::new(client)
        .delete_stream(&toy.place.name)
        .await
        .unwrap();
    let id = toy.create().await;
    toy.place.drained().await;
    eventually("the event is in the new stream", async || {
        toy.place
            .messages()
            .await
            .iter()
            .any(|message| message.subject.ends_with(&id))
    })
    .await;
    toy.finish().await;
}

#[tokio::test]
async fn a_renamed_events_collection_is_recovered_from() {
    let toy = Toy::start().await;
    toy.create().await;
    toy.place.drained().await;
    let admin = toy.place.database().await.client().database("admin");
    let (from, to) = (
        format!("{}.events", toy.place.name),
        format!("{}.kept", toy.place.name),
    );
    admin
        .run_command(doc! { "renameCollection": from, "to": to })
        .await
        .unwrap();
    toy.create().await;
    toy.place.drained().await;
    assert_eq!(toy.place.messages().await.len(), 2);
    toy.finish().await;
}

#[tokio::test]
async fn a_change_stream_that_lost_its_history_is_opened_anew() {
    // A server of its own: a fail point holds for all of a server.
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let toy = Toy::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    toy.create().await;
    toy.place.drained().await;
    let admin = toy.place.database().await.client().database("admin");
    let lost = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 3 },
        "data": { "failCommands": ["getMore", "aggregate"], "appName": &toy.place.name, "errorCode": 286 },
    };
    admin.run_command(lost).await.unwrap();
    toy.create().await;
    toy.place.drained().await;
    toy.create().await;
    toy.place.drained().await;
    assert_eq!(toy.place.messages().await.len(), 3);
    toy.finish().await;
}

#[tokio::test]
async fn what_was_published_is_marked_before_the_service_ends() {
    let toy = Toy::start().await;
    let nats = async_nats::connect(nats_url()).await.unwrap();
    let mut messages = nats
        .subscribe(format!("{}.>", toy.place.name))
        .await
        .unwrap();
    nats.flush().await.unwrap();
    toy.create().await;
    messages.next().await.unwrap();
    let place = toy.stop().await;
    assert_eq!(place.events().await[0].get_str("sent").unwrap(), "YES");
    place.remove().await;
}

#[tokio::test]
async fn marks_that_fail_are_tried_again_after_growing_delays_and_nothing_is_published_twice() {
    // A server of its own: a fail point holds for all of a server.
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let toy = Toy::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    let admin = toy.place.database().await.client().database("admin");
    let fail = doc! {
        "configureFailPoint": "failCommand", "mode": "alwaysOn",
        "data": { "failCommands": ["update"], "appName": &toy.place.name, "errorCode": 2 },
    };
    admin.run_command(fail).await.unwrap();
    let began = Instant::now();
    toy.create().await;
    let entered =
        doc! { "waitForFailPoint": "failCommand", "timesEntered": 5, "maxTimeMS": 10_000 };
    admin.run_command(entered).await.unwrap();
    // 50, 100, 200 and 400 ms at least.
    assert!(began.elapsed() >= Duration::from_millis(750));
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    admin.run_command(off).await.unwrap();
    toy.place.drained().await;
    assert_eq!(toy.place.messages().await.len(), 1);
    toy.finish().await;
}

#[tokio::test]
async fn what_was_sent_expires_after_the_retention_that_was_set_last() {
    let mut place = Place::new();
    for seconds in [3600, 7200] {
        place.event_retention = Duration::from_secs(seconds);
        let toy = Toy::start_at(place).await;
        toy.create().await;
        toy.place.drained().await;
        let events = toy.place.database().await.collection::<Document>("events");
        let mut indexes = events.list_indexes().await.unwrap();
        let mut expiring = None;
        while let Some(index) = indexes.next().await {
            let index = index.unwrap();
            let after = index.options.and_then(|options| options.expire_after);
            expiring = expiring.or(after.map(|after| (index.keys, after.as_secs())));
        }
        // What is not sent has no such date, and is kept.
        assert_eq!(expiring, Some((doc! { "sentAt": 1 }, seconds)));
        let sent = doc! { "sent": "YES", "sentAt": { "$type": "date" } };
        let all = events.count_documents(doc! {}).await.unwrap();
        assert_eq!(events.count_documents(sent).await.unwrap(), all);
        place = toy.stop().await;
    }
    place.remove().await;
}

#[tokio::test]
async fn a_run_of_one_key_that_is_longer_than_a_turn_is_published_whole_and_in_order() {
    let toy = Toy::start().await;
    let events = toy.place.database().await.collection::<Document>("events");
    let of = |key: &str, version: i64| event(key, version, doc! { "version": version });
    let backlog: Vec<Document> = ["a", "b", "c"]
        .iter()
        .flat_map(|key| (0..200).map(move |version| of(key, version)))
        .collect();
    events.insert_many(backlog).await.unwrap();
    toy.place.drained().await;
    let messages = toy.place.messages().await;
    for key in ["a", "b", "c"] {
        let of_key = messages
            .iter()
            .filter(|message| message.subject.ends_with(&format!(".{key}")));
        let versions: Vec<Value> = of_key
            .map(|message| {
                serde_json::from_slice::<Value>(&message.payload).unwrap()["version"].clone()
            })
            .collect();
        assert_eq!(versions, (0..200).map(Value::from).collect::<Vec<_>>());
    }
    toy.finish().await;
}
