//! What is published for a consumer, and what has become of it.

use async_nats::{HeaderMap, jetstream};
use bson::{Document, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use testbed::eventually;

use crate::{
    tally::{CONSUMER, TYPES},
    toy::{NAME, Place},
};

pub(crate) async fn jetstream(place: &Place) -> jetstream::Context {
    jetstream::new(async_nats::connect(&place.nats_url).await.unwrap())
}

/// The stream that is consumed.
pub(crate) async fn numbers(place: &Place) -> jetstream::stream::Config {
    let config = jetstream::stream::Config {
        name: place.stream.clone(),
        subjects: vec![format!("{}.number.>", place.name)],
        ..Default::default()
    };
    jetstream(place).await.create_stream(&config).await.unwrap();
    config
}

/// A message of a key, as the outbox of another service publishes it.
pub(crate) struct Sent<'a> {
    pub(crate) key: &'a str,
    pub(crate) version: i64,
    pub(crate) payload: Value,
    pub(crate) r#type: &'a str,
    pub(crate) id: Option<String>,
}

pub(crate) fn number(key: &str, version: i64) -> Sent<'_> {
    then(key, version, json!("apply"))
}

/// One that the handler does something else with.
pub(crate) fn then(key: &str, version: i64, then: Value) -> Sent<'_> {
    Sent {
        key,
        version,
        payload: json!({ "add": 1, "then": then }),
        r#type: TYPES[0],
        id: None,
    }
}

impl Sent<'_> {
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let id = self.id.clone().unwrap_or_else(|| ObjectId::new().to_hex());
        headers.insert("Nats-Msg-Id", id);
        headers.insert("ce-type", self.r#type);
        headers.insert("ce-subject", self.key);
        headers.insert("ce-keyversion", self.version.to_string());
        headers
    }
}

/// Publishes whatever it is.
pub(crate) async fn publish(
    place: &Place,
    subject: String,
    headers: HeaderMap,
    payload: impl AsRef<[u8]>,
) {
    let payload = payload.as_ref().to_vec().into();
    let jetstream = jetstream(place).await;
    let ack = jetstream.publish_with_headers(subject, headers, payload);
    ack.await.unwrap().await.unwrap();
}

/// Publishes them, in this order.
pub(crate) async fn send<'a>(place: &Place, messages: impl IntoIterator<Item = Sent<'a>>) {
    let jetstream = jetstream(place).await;
    let mut acks = Vec::new();
    for message in messages {
        let subject = format!("{}.{}.{}", place.name, message.r#type, message.key);
        let payload = serde_json::to_vec(&message.payload).unwrap();
        let sent = jetstream.publish_with_headers(subject, message.headers(), payload.into());
        acks.push(sent.await.unwrap());
        if acks.len() >= 200 {
            for ack in acks.drain(..) {
                ack.await.unwrap();
            }
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// A key's versions, in the order in which they were applied.
pub(crate) async fn applied(place: &Place, key: &str) -> Vec<i64> {
    let totals = place.database().await.collection::<Document>("totals");
    let total = totals.find_one(doc! { "_id": key }).await.unwrap();
    let Some(total) = total else {
        return Vec::new();
    };
    let applied = total.get_array("applied").unwrap();
    let applied: Vec<i64> = applied.iter().map(|it| it.as_i64().unwrap()).collect();
    assert_eq!(total.get_i64("sum").unwrap(), applied.len() as i64);
    applied
}

/// Waits until these versions of a key are applied.
pub(crate) async fn are_applied(place: &Place, key: &str, versions: impl IntoIterator<Item = i64>) {
    let versions: Vec<_> = versions.into_iter().collect();
    eventually("the versions are applied", async || {
        applied(place, key).await == versions
    })
    .await;
    // Each with its event.
    let events = place.events().await;
    let of_key = events
        .iter()
        .filter(|event| event.get_str("key").unwrap() == key);
    let recorded: Vec<i64> = of_key
        .map(|event| event.get_i64("version").unwrap())
        .collect();
    let mut wanted = versions;
    wanted.sort_unstable();
    assert_eq!(recorded, wanted);
}

pub(crate) async fn dead_letters(place: &Place) -> Vec<Document> {
    let letters = place.database().await.collection::<Document>("deadLetters");
    let letters = letters
        .find(doc! {})
        .sort(doc! { "_id.key": 1, "_id.version": 1 });
    letters.await.unwrap().try_collect().await.unwrap()
}

/// The states of what is put aside of a key.
pub(crate) async fn aside(place: &Place, key: &str) -> Vec<(i64, String)> {
    let letters = dead_letters(place).await;
    let of_key = letters.iter().filter_map(|letter| {
        let id = letter.get_document("_id").unwrap();
        let state = letter.get_str("state").unwrap().to_owned();
        id.get_str("key")
            .is_ok_and(|it| it == key)
            .then(|| (id.get_i64("version").unwrap(), state))
    });
    of_key.collect()
}

/// Waits until a key's messages are put aside so.
pub(crate) async fn are_aside(place: &Place, key: &str, wanted: &[(i64, &str)]) {
    let owned = |(version, state): &(i64, &str)| (*version, (*state).to_owned());
    let wanted: Vec<_> = wanted.iter().map(owned).collect();
    eventually("they are put aside", async || {
        aside(place, key).await == wanted
    })
    .await;
}

pub(crate) async fn durable(place: &Place) -> Option<jetstream::consumer::Info> {
    let stream = jetstream(place)
        .await
        .get_stream(&place.stream)
        .await
        .ok()?;
    let name = format!("{}-{NAME}-{CONSUMER}", place.name);
    stream.consumer_info(name).await.ok()
}

/// Waits until nothing of the stream is left to be consumed: however long that takes, as long as it goes on.
pub(crate) async fn acknowledged(place: &Place) {
    let left = async || {
        let info = durable(place).await;
        info.map_or(u64::MAX, |info| {
            info.num_pending + info.num_ack_pending as u64
        })
    };
    let mut last = left().await;
    while last > 0 {
        eventually("more is acknowledged", async || left().await < last).await;
        last = left().await;
    }
}

/// As if it had never consumed anything: it is sent everything once more.
pub(crate) async fn consumer_is_deleted(place: &Place) {
    let stream = jetstream(place).await.get_stream(&place.stream).await;
    let name = format!("{}-{NAME}-{CONSUMER}", place.name);
    stream.unwrap().delete_consumer(&name).await.unwrap();
}
