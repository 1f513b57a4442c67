//! What a build before this one left is taken over: `before.json` is the database and the stream of the last one without an inbox,
//! `before_consuming.json` those of 7f9e640, which was stopped while orders waited in its consumer, its queues and its inbox.

use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context,
        consumer::{self, Consumer, pull},
        stream::{Config, StorageType},
    },
};
use bson::{DateTime, Document, doc};
use futures_util::StreamExt;
use serde_json::{Value, json};
use testbed::{eventually, start};

use crate::{
    harness::{Place, token},
    process::command,
};

/// Where it was made.
const PREFIX: &str = "before.";

/// With the order of members, which counts in indexes.
fn without_inbox() -> Document {
    serde_json::from_str(include_str!("before.json")).unwrap()
}

fn consuming() -> Document {
    serde_json::from_str(include_str!("before_consuming.json")).unwrap()
}

fn documents(of: &Document, name: &str) -> Vec<Document> {
    let documents = of.get_array(name).unwrap().iter();
    documents
        .map(|it| it.as_document().unwrap().clone())
        .collect()
}

/// Puts the database there as it was, with its options and indexes.
async fn restore_database(place: &Place, left: &Document) {
    let database = place.database().await;
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
        if !documents.is_empty() {
            let collection = database.collection::<Document>(name);
            collection.insert_many(documents).await.unwrap();
        }
    }
}

async fn jetstream(place: &Place) -> Context {
    jetstream::new(async_nats::connect(&place.nats_url).await.unwrap())
}

/// Puts a stream there as it was, with another name and this place's prefix.
async fn restore_stream(place: &Place, name: &str, subjects: &str, messages: Vec<Document>) {
    let context = jetstream(place).await;
    let config = Config {
        name: name.to_owned(),
        subjects: vec![format!("{}.{subjects}.>", place.name)],
        storage: StorageType::File,
        ..Config::default()
    };
    context.create_stream(config).await.unwrap();
    for message in messages {
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

/// Puts the consumer of the orders there as it was, with this place's prefix: what it had acknowledged is acknowledged.
async fn restore_consumer(place: &Place, left: &Document) {
    let config: consumer::Config = serde_json::from_str(left.get_str("consumer").unwrap()).unwrap();
    let name = format!("{}-tickets-reservations", place.name);
    assert_eq!(config.name.as_deref(), Some("before-tickets-reservations"));
    let config = consumer::Config {
        name: Some(name.clone()),
        durable_name: Some(name.clone()),
        filter_subject: format!("{}.order.>", place.name),
        ..config
    };
    let stream = jetstream(place)
        .await
        .get_stream(place.orders_stream())
        .await
        .unwrap();
    stream.create_consumer(config).await.unwrap();
    let made: Consumer<pull::Config> = stream.get_consumer(&name).await.unwrap();
    let acknowledged = left.get_i32("acknowledged").unwrap() as usize;
    let messages = made.fetch().max_messages(acknowledged).messages().await;
    let mut messages = messages.unwrap();
    while let Some(message) = messages.next().await {
        message.unwrap().double_ack().await.unwrap();
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
    let (place, left) = (Place::new(), without_inbox());
    restore_database(&place, &left).await;
    restore_stream(&place, &place.name, "ticket", documents(&left, "stream")).await;
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

#[tokio::test]
async fn orders_that_waited_in_the_release_before_are_applied_once_and_in_order() {
    let (place, left) = (Place::new().consuming(), consuming());
    restore_database(&place, &left).await;
    restore_stream(&place, &place.name, "ticket", documents(&left, "stream")).await;
    let orders = place.orders_stream();
    restore_stream(&place, &orders, "order", documents(&left, "orderStream")).await;
    restore_consumer(&place, &left).await;
    let mut command = command(&place);
    command
        .env("EVENT_RETENTION", "3650d")
        .env("RESERVATIONS_STREAM", &orders);
    let (mut process, address) = start(&mut command).await;

    let client = testbed::client();
    let tickets = place.database().await.collection::<Document>("tickets");
    let is = async |title: &str, holder: Option<&str>, version: i64| {
        let holder =
            holder.map(|order| left.get_document("orders").unwrap().get_str(order).unwrap());
        let so = doc! { "title": title, "orderId": holder, "version": version };
        tickets.count_documents(so).await.unwrap() == 1
    };
    // Its cancellation came while nothing ran.
    eventually("it is free", async || is("reserved", None, 2).await).await;
    // So did that of its first order: the ticket goes to the next of its queue, and another waits on.
    eventually("the next one holds it", async || {
        is("wanted", Some("second"), 2).await
    })
    .await;
    let queue = tickets
        .find_one(doc! { "title": "wanted" })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(queue.get_array("waitingOrders").unwrap().len(), 1);
    // A cancellation that had come first was put aside, and waits no more.
    eventually("both are applied", async || is("free", None, 2).await).await;
    let letters = place.database().await.collection::<Document>("deadLetters");
    eventually("what is dead is left", async || {
        letters.count_documents(doc! {}).await.unwrap() == 1
    })
    .await;
    let dead = letters.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(dead.get_str("state").unwrap(), "dead");

    // What was answered is answered again.
    let again = client.post(format!("{address}/api/tickets"));
    let again = again.bearer_auth(token("bob"));
    let again = again.header("idempotency-key", "of-the-release-before");
    let again = again.header("content-type", "application/json");
    let again = again.body(r#"{"title": "reserved", "price": 10}"#);
    let again: Value = again.send().await.unwrap().json().await.unwrap();
    assert_eq!(again["version"], 0);
    place.drained().await;
    for title in ["reserved", "wanted", "free"] {
        let ticket = tickets
            .find_one(doc! { "title": title })
            .await
            .unwrap()
            .unwrap();
        let told = told_of(&place, &ticket.get_object_id("_id").unwrap().to_hex()).await;
        let expected = ["ticket.created 0", "ticket.updated 1", "ticket.updated 2"];
        assert_eq!(told, expected, "{title}");
    }
    assert_eq!(tickets.count_documents(doc! {}).await.unwrap(), 3);
    process.terminate().await.unwrap();
    let jetstream = jetstream(&place).await;
    jetstream.delete_stream(&orders).await.unwrap();
    place.remove().await;
}
