//! What operators do to the outbox, by the program's own commands.

use std::process::Output;

use bson::{DateTime, Document, doc, oid::ObjectId};
use serde_json::{Value, json};
use testbed::eventually;
pub(crate) use testbed::{plant, stream};

use crate::{
    harness::{Place, TestApp},
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

pub(crate) async fn json(place: &Place, args: &[&str]) -> Value {
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

async fn parked(place: &Place) -> Vec<Value> {
    json(place, &["list", "--parked"])
        .await
        .as_array()
        .unwrap()
        .clone()
}

/// Subjects and versions, in the stream's order.
pub(crate) async fn published(place: &Place, key: &str) -> Vec<i64> {
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
