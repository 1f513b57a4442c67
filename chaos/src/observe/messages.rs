//! What the stream holds, by its leader and by each server of the cluster.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    time::Duration,
};

use anyhow::{Context, bail};
use async_nats::jetstream::{
    self,
    message::StreamMessage,
    stream::{RawMessageErrorKind, Stream},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use testbed::within;

use crate::{
    clock::Clock,
    domain::TICKETS,
    history::{Copy, Message, Replica},
    world::World,
};

const READS_IN_FLIGHT: usize = 64;
/// A server that takes the lead has to catch up first.
const LEADER_LIMIT: Duration = Duration::from_secs(90);

/// Every message, read from the stream's leader.
pub(super) async fn of_leader(
    world: &World,
    stream: &str,
    clock: Clock,
) -> anyhow::Result<Vec<Message>> {
    let client = async_nats::connect(world.nats_urls.as_slice()).await?;
    let context = jetstream::new(client);
    let read = async || all(&context.get_stream(stream).await?).await;
    // A cluster that has just been put together again is away for a moment.
    let messages = within(LEADER_LIMIT, "the stream is read", read).await?;
    let message = |message: &StreamMessage| message_of(message, clock);
    messages.iter().map(message).collect()
}

pub(super) async fn leader(world: &World) -> anyhow::Result<Option<String>> {
    let client = async_nats::connect(world.nats_urls.as_slice()).await?;
    let stream = jetstream::new(client).get_stream(TICKETS.stream).await?;
    let cluster = stream.cached_info().cluster.clone();
    Ok(cluster.and_then(|cluster| cluster.leader))
}

/// What each server of a cluster holds: it is given the lead, and asked.
pub(super) async fn of_each_server(world: &World, name: &str) -> anyhow::Result<Vec<Replica>> {
    let mut replicas = Vec::new();
    if world.nats_urls.len() < 2 {
        return Ok(replicas);
    }
    let client = async_nats::connect(world.nats_urls.as_slice()).await?;
    let context = jetstream::new(client.clone());
    for number in 0..world.nats_urls.len() {
        let server = format!("nats-{number}");
        let leads = async || {
            let stream = context.get_stream(name).await?;
            let cluster = stream.cached_info().cluster.clone();
            let leader = cluster
                .and_then(|cluster| cluster.leader)
                .unwrap_or_default();
            if leader != server {
                let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{name}");
                let wanted = json!({ "placement": { "preferred": server } }).to_string();
                let answer = client.request(subject, wanted.into()).await?;
                let answer: Value = serde_json::from_slice(&answer.payload)?;
                bail!("{leader} leads; asked for {server}: {}", answer["error"]);
            }
            Ok(stream)
        };
        let read = async || {
            let messages = all(&leads().await?).await?;
            leads()
                .await
                .context("it lost the lead while it was read")?;
            Ok(messages)
        };
        let messages = within(LEADER_LIMIT, &format!("{server} leads, and is read"), read).await?;
        replicas.push(Replica {
            copies: messages.iter().map(copy).collect(),
            server,
        });
    }
    Ok(replicas)
}

async fn all(stream: &Stream) -> anyhow::Result<Vec<StreamMessage>> {
    let state = &stream.cached_info().state;
    let read = async |sequence: u64| match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => bail!("message {sequence}: {error}"),
    };
    let read: Vec<Option<StreamMessage>> =
        stream::iter(state.first_sequence.max(1)..=state.last_sequence)
            .map(read)
            .buffered(READS_IN_FLIGHT)
            .try_collect()
            .await?;
    Ok(read.into_iter().flatten().collect())
}

fn copy(message: &StreamMessage) -> Copy {
    let mut hasher = DefaultHasher::new();
    message.subject.as_str().hash(&mut hasher);
    message.payload.hash(&mut hasher);
    message.time.unix_timestamp_nanos().hash(&mut hasher);
    for (name, value) in headers(message) {
        (name, value).hash(&mut hasher);
    }
    let id = message.headers.get("Nats-Msg-Id").map(ToString::to_string);
    Copy {
        sequence: message.sequence,
        id,
        hash: hasher.finish(),
    }
}

fn headers(message: &StreamMessage) -> std::collections::BTreeMap<String, String> {
    let lines = message.headers.iter();
    let line = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let values: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
        (name.to_string(), values.join("\n"))
    };
    lines.map(line).collect()
}

fn message_of(message: &StreamMessage, clock: Clock) -> anyhow::Result<Message> {
    let payload: Value = if message.payload.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&message.payload)
            .with_context(|| format!("the payload of message {}", message.sequence))?
    };
    Ok(Message {
        sequence: message.sequence,
        subject: message.subject.to_string(),
        headers: headers(message),
        payload,
        stored_ms: clock.ms_of(message.time.into()),
    })
}
