//! Publishes again what the broker acknowledged and then lost. Replay only finds the lost events and gives them
//! back to the publisher, so that they go the one way that every event goes.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use anyhow::ensure;
use async_nats::jetstream::stream::{Info, RawMessageErrorKind, RetentionPolicy, Stream};
use bson::{DateTime, RawDocument, oid::ObjectId};
use db::{Abort, TransactionError};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

pub use crate::outbox::{Range, Unpublished};

use crate::{
    JetStream, Outbox,
    stored::{shown, whole_number},
};

/// A message may seem older than its event, by the clocks of two machines.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(3600);
const READS_IN_FLIGHT: usize = 64;
/// Events in a transaction.
const BATCH: usize = 500;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    /// Events that were acknowledged.
    pub checked: usize,
    /// Those of them that the stream does not hold, in the order in which they are published.
    pub lost: Vec<Lost>,
    /// The stream's duplicate window: for this long after a publication it takes the event for a copy, although it has lost the message.
    #[serde(skip)]
    pub known_for: Duration,
}

/// An event that is marked as sent, and that the stream does not hold.
#[derive(Debug, Clone, Serialize)]
pub struct Lost {
    /// The event's.
    #[serde(serialize_with = "hex")]
    pub id: ObjectId,
    pub r#type: String,
    pub key: String,
    pub version: i64,
    /// When it was marked as sent; long ago where that is not known.
    #[serde(skip)]
    pub sent_at: DateTime,
}

impl Lost {
    /// How long the stream still takes it for a copy.
    pub(crate) fn is_known_for(&self, known_for: Duration) -> Duration {
        let age = DateTime::now().saturating_duration_since(self.sent_at);
        known_for.saturating_sub(age)
    }
}

/// Looks for events that are marked as sent and not in the stream. `progress` hears the sequence that was read
/// and the last one.
///
/// The events are read first: whatever was marked by then is in the stream by then, or it is lost.
///
/// # Errors
/// When database or stream can't be read, or the stream forgets messages by itself, so that what is lost can't be told.
pub async fn find_lost(
    outbox: &Outbox,
    jetstream: &JetStream,
    range: &Range,
    progress: impl Fn(u64, u64),
) -> anyhow::Result<Found> {
    let mut candidates = sent(outbox, range).await?;
    let checked = candidates.len();
    if candidates.is_empty() {
        return Ok(Found {
            checked,
            lost: Vec::new(),
            known_for: Duration::ZERO,
        });
    }
    let mut known_for = Duration::ZERO;
    if let Some(stream) = jetstream.stream().await? {
        tells_what_is_lost(stream.cached_info(), range)?;
        known_for = stream.cached_info().config.duplicate_window;
        let state = &stream.cached_info().state;
        let since = range.since.timestamp_millis() - CLOCKS_DIFFER_BY.as_millis() as i64;
        let first = first_since(&stream, state.first_sequence, state.last_sequence, since).await;
        let mut ids = stream::iter(first..=state.last_sequence)
            .map(|sequence| message_id(&stream, sequence))
            .buffered(READS_IN_FLIGHT);
        while let Some((sequence, id)) = ids.try_next().await? {
            progress(sequence, state.last_sequence);
            if let Some(id) = id {
                candidates.remove(&id);
            }
        }
    }
    let mut lost: Vec<Lost> = candidates.into_values().collect();
    lost.sort_by(|one, other| (&one.key, one.version).cmp(&(&other.key, other.version)));
    Ok(Found {
        checked,
        lost,
        known_for,
    })
}

/// A message that is not there any more may also have been consumed, or have expired.
fn tells_what_is_lost(stream: &Info, range: &Range) -> anyhow::Result<()> {
    let (config, state) = (&stream.config, &stream.state);
    ensure!(
        config.retention == RetentionPolicy::Limits,
        "the stream forgets what was consumed (retention): a lost event can't be told from a consumed one"
    );
    ensure!(
        config.max_messages_per_subject <= 0 || config.discard_new_per_subject,
        "the stream keeps only the last messages of a subject (max_msgs_per_subject): a lost event can't be told from an older one"
    );
    let since_ms = range.since.timestamp_millis();
    if !config.max_age.is_zero() {
        let max_age_ms = i64::try_from(config.max_age.as_millis()).unwrap_or(i64::MAX);
        ensure!(
            since_ms
                >= DateTime::now()
                    .timestamp_millis()
                    .saturating_sub(max_age_ms),
            "the stream forgets what is older than {:?} (max_age): --since has to be later than that",
            config.max_age
        );
    }
    let has_limit = config.max_messages > 0 || config.max_bytes > 0;
    let first_ms = state.first_timestamp.unix_timestamp() * 1000;
    ensure!(
        !has_limit || state.first_sequence <= 1 || since_ms >= first_ms,
        "the stream has forgotten what is older than {} by its limits (max_msgs, max_bytes): --since has to be later than that",
        state.first_timestamp
    );
    Ok(())
}

/// Gives lost events back to the publisher. A batch is seen by it as a whole, and the earlier versions of a key
/// not after the later ones, so that it keeps their order.
///
/// # Errors
/// [`db::Error::Unavailable`] when the database can't be reached.
pub async fn give_back(outbox: &Outbox, lost: &[Lost]) -> Result<(), db::Error> {
    for batch in lost.chunks(BATCH) {
        let ids: Vec<ObjectId> = batch.iter().map(|lost| lost.id).collect();
        let context = (outbox.clone(), ids);
        let given_back = outbox.db.transaction(context, |session, (outbox, ids)| {
            Box::pin(async move {
                // First: it has to be known when the events are.
                outbox.skip_again(session, ids).await?;
                outbox.give_back(session, ids).await?;
                Ok::<(), Abort<Infallible>>(())
            })
        });
        given_back.await.map_err(|error| match error {
            TransactionError::Failed(error) => error,
        })?;
    }
    Ok(())
}

/// How many of them were not published again yet.
///
/// # Errors
/// The driver's.
pub async fn waiting(outbox: &Outbox, lost: &[Lost]) -> mongodb::error::Result<Unpublished> {
    let mut waiting = Unpublished::default();
    for batch in lost.chunks(BATCH) {
        let ids: Vec<ObjectId> = batch.iter().map(|lost| lost.id).collect();
        let of_batch = outbox.count_waiting(&ids).await?;
        waiting.in_turn += of_batch.in_turn;
        waiting.held_back += of_batch.held_back;
    }
    Ok(waiting)
}

/// By their ids, the events of the range that are marked as sent, and of which there has to be a message.
async fn sent(outbox: &Outbox, range: &Range) -> anyhow::Result<HashMap<String, Lost>> {
    let silent = outbox.skipped_in_silence().await?;
    let mut found = outbox.sent(range).await?;
    let mut sent = HashMap::new();
    while let Some(event) = found.try_next().await? {
        let Some(lost) = Lost::of(&event) else {
            tracing::warn!(
                event.id = shown(&event, "_id"),
                "an event can't be read; it is left out"
            );
            continue;
        };
        if !silent.contains(&lost.id) {
            sent.insert(lost.id.to_hex(), lost);
        }
    }
    Ok(sent)
}

impl Lost {
    fn of(event: &RawDocument) -> Option<Self> {
        Some(Self {
            id: event.get_object_id("_id").ok()?,
            r#type: shown(event, "type").unwrap_or_default(),
            key: event.get_str("key").ok()?.to_owned(),
            version: whole_number(event, "version")?,
            // What another program marked has no time perhaps.
            sent_at: event.get_datetime("sentAt").unwrap_or(DateTime::MIN),
        })
    }
}

/// The sequence and the id of a message; messages can be missing. The stream's leader is asked, never a replica that
/// may lag behind.
async fn message_id(stream: &Stream, sequence: u64) -> anyhow::Result<(u64, Option<String>)> {
    match stream.get_raw_message(sequence).await {
        Ok(message) => {
            let id = message.headers.get(async_nats::header::NATS_MESSAGE_ID);
            Ok((sequence, id.map(ToString::to_string)))
        }
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok((sequence, None)),
        Err(error) => Err(error.into()),
    }
}

/// The first sequence at or after a time, found by halving.
async fn first_since(stream: &Stream, first: u64, last: u64, since_ms: i64) -> u64 {
    let (mut low, mut high) = (first.max(1), last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match stream.get_first_raw_message_by_subject(">", middle).await {
            Ok(message) if message.time.unix_timestamp() * 1000 < since_ms => {
                low = message.sequence + 1;
            }
            // What can't be read here is read from here on, and fails there.
            Ok(_) | Err(_) => high = middle,
        }
    }
    low
}

fn hex<S: serde::Serializer>(id: &ObjectId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.to_hex())
}
