//! What a build before this one left (`before.json`: its database and its stream, made by the last one without an inbox) is taken over.

use async_nats::{
    HeaderMap, jetstream,
    jetstream::stream::{Config, StorageType},
};
use bson::{Bson, DateTime, Document, doc};
use serde_json::{Value, json};
use testbed::{eventually, start};

use crate::{
    harness::{Place, token},
    process::command,
};

const LEFT: &str = include_str!("before.json");
/// Where it was made.
const PREFIX: &str = "before.";

/// With the order of members, which counts in indexes.
fn left() -> Document {
    serde_json::from_str(LEFT).unwrap()
}

fn documents(of: &Document, name: &str) -> Vec<Document> {
    let documents = of.get_array(name).unwrap().iter();
    documents
        .map(|it| it.as_document().unwrap().clone())
        .collect()
}

/// Puts the database there as it was, with its options and indexes.
async fn restore_database(place: &Place) {
    let (database, left) = (place.database().await, left());
    for (name, collection) in left.get_document("collections").unwrap() {
        let collection = collection.as_document().unwrap();
        let mut create = doc! { "create": name };
        create.extend(collection.get_document("options").unwrap().clone());
        database.run_command(create).await.unwrap();
        let indexes = documents(collection, "indexes");
        if !indexes.is_empty() {
            let indexes = doc! { "createIndexes": name, "indexes": indexes };
            database.run_command(indexes).await.unwrap();
        }
        let mut documents = documents(collection, "documents");
        if name == "answers" {
            // They count for a day.
            documents[0].insert("createdAt", DateTime::now());
        }
        let collection = database.collection::<Document>(name);
        collection.insert_many(documents).await.unwrap();
    }
}

/// Puts the stream there as it was, with this place's name and prefix.
async fn restore_stream(place: &Place) {
    let left = left();
    let nats = async_nats::connect(&place.nats_url).await.unwrap();
    let context = jetstream::new(nats);
    let subjects = left.get_document("config").unwrap().get_array("subjects");
    assert_eq!(subjects.unwrap(), &[Bson::from("before.ticket.>")]);
    let config = Config {
        name: place.name.clone(),
        subjects: vec![format!("{}.ticket.>", place.name)],
        storage: StorageType::File,
        ..Config::default()
    };
    context.create_stream(config).await.unwrap();
    for message in documents(&left, "stream") {
        let subject = message.get_str("subject").unwrap();
        let subject = format!("{}.{}", place.name, subject.strip_prefix(PREFIX).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in message.get_document("headers").unwrap() {
            // They name the stream, and where its last message of the subject was.
            if !name.starts_with("Nats-Expected") {
                headers.insert(name.as_str(), value.as_str().unwrap());
            }
        }
        let payload = message.get_str("payload").unwrap().to_owned();
        let stored = context.publish_with_headers(subject, headers, payload.into());
        stored.await.unwrap().await.unwrap();
    }
}

/// Type and version of each message of a key, in the stream's order.
async fn told_of(place: &Place, key: &str) -> Vec<String> {
    let messages = place.messages().await;
    let of_key = messages.iter().filter(|it| it.subject.ends_with(key));
    let told = of_key.map(|it| {
        let header = |name| it.headers.get(name).unwrap().as_str();
        format!("{} {}", header("ce-type"), header("ce-keyversion"))
    });
    told.collect()
}

#[tokio::test]
async fn what_the_release_before_left_is_served_published_and_changed() {
    let place = Place::new();
    restore_database(&place).await;
    restore_stream(&place).await;
    let mut command = command(&place);
    let (mut process, address) = start(command.env("EVENT_RETENTION", "3650d")).await;
    let tickets = format!("{address}/api/tickets");

    let client = testbed::client();
    let listed = client.get(&tickets).send().await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    let id_of = |title: &str| {
        let listed = listed.as_array().unwrap();
        let ticket = listed.iter().find(|it| it["title"] == title);
        ticket.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (changed, unsent) = (id_of("changed twice"), id_of("unsent"));
    let (untouched, parked) = (id_of("never changed"), id_of("to be parked"));

    // What it had saved and not published is published, behind what it had.
    eventually("the rest is published", async || {
        told_of(&place, &unsent).await == ["ticket.created 0", "ticket.updated 1"]
    })
    .await;
    // Its owner changes what it made, and the versions go on.
    let change = client
        .put(format!("{tickets}/{changed}"))
        .bearer_auth(token("bob"));
    let change = change.json(&json!({ "title": "changed thrice", "price": 13 }));
    let answer: Value = change.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&answer["version"], &answer["price"]),
        (&json!(3), &json!(13.0))
    );
    eventually("the change is published", async || {
        told_of(&place, &changed).await.len() == 4
    })
    .await;
    // What it had answered is answered again.
    let again = client.post(&tickets).bearer_auth(token("bob"));
    let again = again.header("idempotency-key", "of-the-release-before");
    // The same body, to the byte.
    let again = again.header("content-type", "application/json");
    let again = again.body(r#"{"title": "changed twice", "price": 10}"#);
    let again: Value = again.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&again["id"], &again["version"]),
        (&json!(changed), &json!(0))
    );

    // What it had parked is parked, and nothing is stored twice.
    assert_eq!(place.parked().await.len(), 1);
    assert_eq!(told_of(&place, &parked).await, [""; 0]);
    assert_eq!(told_of(&place, &untouched).await, ["ticket.created 0"]);
    let log = process.log();
    assert!(!log.contains(" ERROR "), "{log}");
    process.terminate().await.unwrap();
    place.remove().await;
}
