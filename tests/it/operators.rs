//! What operators do to the outbox, by the program's own commands.

use std::{process::Output, time::Duration};

use async_nats::jetstream;
use bson::{DateTime, Document, doc, oid::ObjectId};
use serde_json::{Value, json};

use crate::{
    harness::{Place, TestApp, eventually},
    process::command,
};

/// More than a NATS server takes by default.
pub(crate) const TOO_LARGE: usize = 2 * 1024 * 1024;

async fn outbox(place: &Place, args: &[&str]) -> Output {
    let mut command = command(place);
    command.arg("outbox").args(args);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn json(place: &Place, args: &[&str]) -> Value {
    let Output {
        status,
        stdout,
        stderr,
    } = outbox(place, &[args, &["--json"]].concat()).await;
    assert!(
        status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
    serde_json::from_slice(&stdout).unwrap()
}

pub(crate) fn event(key: &str, version: i64, data: Document) -> Document {
    doc! {
        "_id": ObjectId::new(), "type": "ticket.updated", "subject": format!("ticket.updated.{key}"),
        "key": key, "version": version, "data": data, "sent": "NO", "createdAt": DateTime::now(),
    }
}

pub(crate) async fn plant(place: &Place, events: impl IntoIterator<Item = Document>) {
    let collection = place.database().await.collection::<Document>("events");
    collection.insert_many(events).await.unwrap();
}

async fn parked(place: &Place) -> Vec<Value> {
    json(place, &["list", "--parked"])
        .await
        .as_array()
        .unwrap()
        .clone()
}

/// Subjects and versions, in the stream's order.
async fn published(place: &Place, key: &str) -> Vec<i64> {
    let messages = place.messages().await;
    let of_key = messages
        .iter()
        .filter(|message| message.subject.ends_with(key));
    of_key
        .map(|message| {
            message
                .headers
                .get("ce-keyversion")
                .unwrap()
                .as_str()
                .parse()
                .unwrap()
        })
        .collect()
}

pub(crate) async fn stream(place: &Place) -> jetstream::stream::Stream {
    let client = async_nats::connect(&place.nats_url).await.unwrap();
    jetstream::new(client)
        .get_stream(&place.name)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_event_that_cannot_be_published_is_parked_and_holds_back_its_own_key_only() {
    let app = TestApp::start().await;
    let too_large = event("poison", 0, doc! { "text": "x".repeat(TOO_LARGE) });
    let foreign = doc! { "subject": "order.created.foreign" };
    let mut foreign_event = event("foreign", 0, doc! {});
    foreign_event.extend(foreign);
    let mut unreadable = event("unreadable", 0, doc! {});
    unreadable.insert("data", "not a document");
    let behind = event("poison", 1, doc! { "fine": true });
    let id = too_large.get_object_id("_id").unwrap().to_hex();
    plant(&app.place, [too_large, behind, foreign_event, unreadable]).await;

    eventually("all three are parked", async || {
        parked(&app.place).await.len() == 3
    })
    .await;
    let listed = parked(&app.place).await;
    let found = |key: &str| listed.iter().find(|event| event["key"] == key).unwrap();
    assert_eq!(found("poison")["id"], id);
    assert_eq!(found("poison")["parked"]["attempts"], 1);
    assert!(
        found("poison")["parked"]["at"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    for (key, reason) in [
        ("poison", "max payload"),
        ("foreign", "order.created"),
        ("unreadable", "cannot be read"),
    ] {
        let told = found(key)["parked"]["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{key}: {told}");
    }
    let other = app.create().await;
    eventually("another key goes on", async || {
        published(&app.place, &other).await == [0]
    })
    .await;
    eventually("and is marked", async || {
        json(&app.place, &["status"]).await["unsent"] == 4
    })
    .await;
    let status = json(&app.place, &["status"]).await;
    assert_eq!(status["parked"], 3);
    assert!(status["oldestUnsentSeconds"].as_f64().unwrap() > 0.0);
    assert!(
        status["publisher"]["instance"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/{}", std::process::id()))
    );

    assert_eq!(
        json(&app.place, &["retry", &id]).await,
        json!({ "retried": 1 })
    );
    eventually("it is parked once more", async || {
        let listed = parked(&app.place).await;
        listed
            .iter()
            .any(|event| event["id"] == id && event["parked"]["attempts"] == 2)
    })
    .await;

    let events = app.place.database().await.collection::<Document>("events");
    events
        .delete_many(doc! { "key": { "$in": ["foreign", "unreadable"] } })
        .await
        .unwrap();
    let mended = doc! { "$set": { "data": { "mended": true } } };
    events
        .update_one(doc! { "key": "poison", "version": 0 }, mended)
        .await
        .unwrap();
    assert_eq!(
        json(&app.place, &["retry", "--all-parked"]).await,
        json!({ "retried": 1 })
    );
    app.place.drained().await;
    assert_eq!(published(&app.place, "poison").await, [0, 1]);
    app.finish().await;
}

#[tokio::test]
async fn replay_publishes_again_what_the_stream_lost_and_nothing_else() {
    // A window that is soon over: the ids of what is lost are forgotten.
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let app = TestApp::start_at(place).await;
    let id = app.create().await;
    for price in 1..=3 {
        app.put("alice", &id, json!({ "title": "play", "price": price }))
            .await;
    }
    let kept = app.create().await;
    app.place.drained().await;
    let nothing = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(nothing, json!({ "checked": 5, "lost": [] }));

    let stream = stream(&app.place).await;
    // The broker loses the end of the ticket's history: versions 2 and 3.
    for message in app.place.messages().await {
        if message.subject.ends_with(&id)
            && ["2", "3"].contains(&message.headers.get("ce-keyversion").unwrap().as_str())
        {
            stream.delete_message(message.sequence).await.unwrap();
        }
    }
    assert_eq!(published(&app.place, &id).await, [0, 1]);

    let lost = json(
        &app.place,
        &["replay", "--since", "1h", "--ticket", &id, "--dry-run"],
    )
    .await;
    let versions: Vec<_> = lost["lost"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lost| lost["version"].clone())
        .collect();
    assert_eq!(
        (lost["checked"].clone(), versions),
        (json!(4), vec![json!(2), json!(3)])
    );
    assert_eq!(
        published(&app.place, &id).await,
        [0, 1],
        "a dry run changes nothing"
    );
    let of_another = json(&app.place, &["replay", "--since", "1h", "--key", &kept]).await;
    assert_eq!(of_another, json!({ "checked": 1, "lost": [] }));
    let of_later = json(&app.place, &["replay", "--since", "2999-01-01T00:00:00Z"]).await;
    assert_eq!(of_later["checked"], 0);
    let of_earlier = json(&app.place, &["replay", "--since", "2h", "--until", "1h"]).await;
    assert_eq!(of_earlier["checked"], 0);

    let replayed = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(replayed["lost"].as_array().unwrap().len(), 2);
    assert_eq!(published(&app.place, &id).await, [0, 1, 2, 3]);
    assert_eq!(published(&app.place, &kept).await, [0]);
    let again = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(again, json!({ "checked": 5, "lost": [] }));
    app.finish().await;
}

#[tokio::test]
async fn replay_fills_a_stream_that_is_gone_and_goes_behind_what_came_later() {
    let app = TestApp::start().await;
    let id = app.create().await;
    app.put("alice", &id, json!({ "title": "play", "price": 1 }))
        .await;
    app.place.drained().await;
    let client = async_nats::connect(&app.place.nats_url).await.unwrap();
    jetstream::new(client)
        .delete_stream(&app.place.name)
        .await
        .unwrap();
    // What is new makes a new stream.
    app.put("alice", &id, json!({ "title": "play", "price": 2 }))
        .await;
    app.place.drained().await;
    assert_eq!(published(&app.place, &id).await, [2]);

    let replayed = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(replayed["lost"].as_array().unwrap().len(), 2);
    assert_eq!(published(&app.place, &id).await, [2, 0, 1]);
    app.put("alice", &id, json!({ "title": "play", "price": 3 }))
        .await;
    app.place.drained().await;
    assert_eq!(published(&app.place, &id).await, [2, 0, 1, 3]);
    app.finish().await;
}

#[tokio::test]
async fn an_id_that_the_stream_still_remembers_is_not_taken_for_a_message() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_secs(2);
    let app = TestApp::start_at(place).await;
    let id = app.create().await;
    app.place.drained().await;
    stream(&app.place).await.purge().await.unwrap();

    let replayed = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(replayed["lost"].as_array().unwrap().len(), 1);
    assert_eq!(published(&app.place, &id).await, [0]);
    app.finish().await;
}

#[tokio::test]
async fn a_bad_argument_is_told_by_its_name() {
    let app = TestApp::start().await;
    for (args, code, told) in [
        (
            vec!["replay", "--since", "yesterday"],
            2,
            "--since wants a time such as",
        ),
        (vec!["replay"], 2, "--since"),
        (vec!["retry"], 2, "--all-parked"),
        (
            vec!["retry", "6b050c1871e2fb21cb8fd87d"],
            1,
            "no event with this id is parked",
        ),
        (
            vec!["list", "--limit", "0"],
            2,
            "--limit wants a number above 0",
        ),
    ] {
        let Output { status, stderr, .. } = outbox(&app.place, &args).await;
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(told), "{args:?}: {stderr}");
    }
    let table = outbox(&app.place, &["status"]).await.stdout;
    assert!(
        String::from_utf8(table)
            .unwrap()
            .starts_with("unsent     0\nparked     0\npublisher  ")
    );
    app.finish().await;
}
