//! What database and stream hold when all is over.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, bail};
use async_nats::jetstream::{self, stream::RawMessageErrorKind};
use bson::doc;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    clock::Clock,
    domain,
    history::{Attempt, Document, Event, Message, Observed},
    world::{STREAM, World},
};

const READS_IN_FLIGHT: usize = 64;

/// Waits until nothing moves: no event is unsent but those that are parked or behind one, or `limit` is over.
pub(crate) async fn settled(world: &World, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    let mut before = u64::MAX;
    loop {
        let waiting = waiting(world).await;
        if matches!(waiting, Ok(0)) || Instant::now() >= deadline {
            return waiting.map(drop);
        }
        if let Ok(waiting) = waiting
            && waiting != before
        {
            eprintln!("chaos: {waiting} events are unsent");
            before = waiting;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// What the clients were told, and what the servers hold.
pub(crate) async fn all(
    world: &World,
    clock: Clock,
    attempts: Vec<Attempt>,
    planted: Vec<String>,
) -> anyhow::Result<Observed> {
    Ok(Observed {
        attempts,
        planted,
        documents: documents(world).await?,
        events: events(world).await?,
        messages: messages(world, clock).await?,
    })
}

/// How many events are unsent of keys that are not parked.
async fn waiting(world: &World) -> anyhow::Result<u64> {
    let events = world.database.collection::<bson::Document>("events");
    let parked = world.database.collection::<bson::Document>("parked");
    let parked = parked.distinct("key", doc! {}).await?;
    Ok(events
        .count_documents(doc! { "sent": "NO", "key": { "$nin": parked } })
        .await?)
}

async fn documents(world: &World) -> anyhow::Result<Vec<Document>> {
    let stored = stored(world, domain::COLLECTION).await?;
    stored.iter().map(domain::document).collect()
}

async fn events(world: &World) -> anyhow::Result<Vec<Event>> {
    let parked = stored(world, "parked").await?;
    let parked: HashSet<_> = parked
        .iter()
        .filter_map(|it| it.get_object_id("_id").ok())
        .collect();
    let event = |document: &bson::Document| {
        let traceparent = document.get_str("traceparent");
        Ok(Event {
            id: document.get_object_id("_id")?.to_hex(),
            subject: document.get_str("subject")?.to_owned(),
            key: document.get_str("key")?.to_owned(),
            version: document.get_i64("version")?,
            data: serde_json::to_value(document.get_document("data")?)?,
            traceparent: traceparent.ok().map(ToOwned::to_owned),
            is_sent: document.get_str("sent")? == "YES",
            is_parked: parked.contains(&document.get_object_id("_id")?),
        })
    };
    let stored = stored(world, "events").await?;
    stored.iter().map(event).collect()
}

/// Every document of a collection.
async fn stored(world: &World, collection: &str) -> anyhow::Result<Vec<bson::Document>> {
    let collection = world.database.collection(collection);
    Ok(collection.find(doc! {}).await?.try_collect().await?)
}

/// Every message of the stream, read from its leader.
async fn messages(world: &World, clock: Clock) -> anyhow::Result<Vec<Message>> {
    let client = async_nats::connect(world.nats_urls.as_slice()).await?;
    let stream = jetstream::new(client).get_stream(STREAM).await?;
    let state = &stream.cached_info().state;
    let read = async |sequence: u64| match stream.get_raw_message(sequence).await {
        Ok(message) => message_of(message, clock).map(Some),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => bail!("message {sequence}: {error}"),
    };
    let read: Vec<Option<Message>> =
        stream::iter(state.first_sequence.max(1)..=state.last_sequence)
            .map(read)
            .buffered(READS_IN_FLIGHT)
            .try_collect()
            .await?;
    Ok(read.into_iter().flatten().collect())
}

fn message_of(message: jetstream::message::StreamMessage, clock: Clock) -> anyhow::Result<Message> {
    let header = |name: &str| message.headers.get(name).map(ToString::to_string);
    let payload: Value = serde_json::from_slice(&message.payload)
        .with_context(|| format!("the payload of message {}", message.sequence))?;
    Ok(Message {
        sequence: message.sequence,
        subject: message.subject.to_string(),
        message_id: header("Nats-Msg-Id"),
        event_id: header("ce-id"),
        payload,
        traceparent: header("traceparent"),
        stored_ms: clock.ms_of(message.time.into()),
    })
}
