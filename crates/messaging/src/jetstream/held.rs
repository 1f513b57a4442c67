//! What the stream holds of a key, where this instance does not know: the stream's leader is asked, never a replica that may lag.

mod history;
mod same;

use async_nats::jetstream::{
    context::RequestError,
    message::StreamMessage,
    stream::{LastRawMessageError, LastRawMessageErrorKind, Stream},
};
use bytes::Bytes;
use metrics::counter;

use super::{
    JetStream,
    failure::{Failure, Whose},
};
use crate::{Event, Outbox, metrics::GAPS};
pub(super) use history::Histories;
use same::says_the_same;

pub(super) const ID_HEADER: &str = "ce-id";
pub(super) const VERSION_HEADER: &str = "ce-keyversion";
/// A message that is published again says in this header which version of its key the stream had reached before.
pub(super) const REACHED_HEADER: &str = "outbox-reached";

/// What the stream holds of an event's key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The event, or a later one of ours.
    Stored,
    Before(Before),
}

/// Only what comes before the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// The sequence of the last message of the event's subject; 0 where there is none.
    pub(super) sequence: u64,
    /// The highest version that the stream had of the key.
    pub(super) reached: Option<i64>,
}

/// A message of a key or of a subject.
struct Message {
    subject: String,
    sequence: u64,
    id: String,
    version: Option<i64>,
    /// Where it was published again.
    reached: Option<i64>,
    payload: Bytes,
}

/// What is published of an event. Others may publish under its id, which can be guessed: a message is ours where all of this is the same.
#[derive(Clone, Copy)]
pub(super) struct Ours<'a> {
    pub(super) event: &'a Event,
    pub(super) subject: &'a str,
    pub(super) payload: &'a Bytes,
}

impl JetStream {
    /// Asks what the stream holds of the event's key.
    pub(super) async fn held(&self, outbox: &Outbox, ours: Ours<'_>) -> Result<Held, Failure> {
        let Ours { event, subject, .. } = ours;
        let stream = self.jetstream.get_stream_no_info(&self.stream.name);
        let stream = stream.await.map_err(|error| unanswered(error.into()))?;
        let Some(last) = last_of(&stream, &self.of_key(event, subject)).await? else {
            self.look_for_gap(event, None);
            return Ok(Held::Before(Before::default()));
        };
        let reached = last.reached.max(last.version);
        if last.id == event.id.to_hex() {
            return stored_by_us(&last, ours);
        }
        // Whoever may publish there can put anything last: only what comes right before the event tells enough. Where that was published
        // again, the event itself may lie before it.
        let is_next = last.version.is_some()
            && last.version == event.version.checked_sub(1)
            && reached < Some(event.version);
        if event.replay || !is_next {
            let of_key = self.of_key(event, subject);
            match self.find(&stream, of_key, event).await? {
                Some(found) if found.id == event.id.to_hex() => return stored_by_us(&found, ours),
                Some(_) => return Err(conflict(event.version)),
                None => {}
            }
        }
        let is_later = last.version >= Some(event.version) && last.reached < Some(event.version);
        if is_later && !event.replay {
            // A stream that forgets may have held it.
            return if self.forgets() && holds(outbox, &last, &event.key).await? {
                Ok(Held::Stored)
            } else {
                Err(conflict(last.version.unwrap_or_default()))
            };
        }
        if !event.replay {
            self.look_for_gap(event, reached);
        }
        let sequence = if last.subject == subject {
            last.sequence
        } else {
            match last_of(&stream, subject).await? {
                Some(last) if last.id == event.id.to_hex() => return stored_by_us(&last, ours),
                of_subject => of_subject.map_or(0, |last| last.sequence),
            }
        };
        Ok(Held::Before(Before { sequence, reached }))
    }

    /// The event, or else one of the same key and version; where later versions were published again before it, only the whole history
    /// of the key tells.
    async fn find(
        &self,
        stream: &Stream<()>,
        of_key: String,
        event: &Event,
    ) -> Result<Option<Message>, Failure> {
        loop {
            let mut history = self.histories.take(&of_key);
            let read = history.read_on(stream, &of_key).await;
            let place = history.place(&event.id, event.version);
            self.histories.put(of_key.clone(), history);
            read?;
            let Some(sequence) = place else {
                return Ok(None);
            };
            let message = at(stream, sequence).await?;
            let is_it =
                |it: &Message| it.id == event.id.to_hex() || it.version == Some(event.version);
            if let Some(found) = message.filter(is_it) {
                return Ok(Some(found));
            }
            // Somebody has deleted it since it was read: there may be another.
            self.histories.take(&of_key);
        }
    }

    /// Whether the stream holds the event at this sequence, where it remembers its id.
    ///
    /// # Errors
    /// A conflict, where it holds something else there.
    pub(super) async fn holds_at(&self, sequence: u64, ours: Ours<'_>) -> Result<bool, Failure> {
        let stream = self.jetstream.get_stream_no_info(&self.stream.name);
        let stream = stream.await.map_err(|error| unanswered(error.into()))?;
        match at(&stream, sequence).await? {
            Some(message) => stored_by_us(&message, ours).map(|_| true),
            None => Ok(false),
        }
    }

    /// Versions of one key lie on several subjects: one for each type.
    fn of_key(&self, event: &Event, subject: &str) -> String {
        let is_usual = event.subject == format!("{}.{}", event.r#type, event.key);
        match event.r#type.split_once('.') {
            Some((noun, verb)) if is_usual && !verb.contains('.') && !event.key.contains('.') => {
                format!("{}{noun}.*.{}", self.prefix, event.key)
            }
            _ => subject.to_owned(),
        }
    }

    /// Tells of a version that is missing below the one that is published.
    fn look_for_gap(&self, event: &Event, reached: Option<i64>) {
        let Some(next) = missing_below(event.version, reached, self.forgets()) else {
            return;
        };
        counter!(GAPS).increment(1);
        tracing::error!(
            event.key,
            event.version,
            missing = next,
            "the stream lacks a version below the one that is published; `outbox replay` publishes again what is still kept"
        );
    }
}

impl Message {
    fn of(message: StreamMessage) -> Self {
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
        let number = |name: &str| header(name).and_then(|number| number.parse().ok());
        Self {
            id: header(ID_HEADER).unwrap_or_default().to_owned(),
            version: number(VERSION_HEADER),
            reached: number(REACHED_HEADER),
            sequence: message.sequence,
            subject: message.subject.to_string(),
            payload: message.payload,
        }
    }

    fn is(&self, ours: Ours<'_>) -> bool {
        // The version of the service that wrote it may have ordered it otherwise.
        let value = |bytes| serde_json::from_slice(bytes).ok();
        let is_same = || Some(says_the_same(&value(&self.payload)?, &value(ours.payload)?));
        self.id == ours.event.id.to_hex()
            && self.subject == ours.subject
            && self.version == Some(ours.event.version)
            && (self.payload == *ours.payload || is_same().unwrap_or_default())
    }
}

/// The first version that the stream lacks below this one; of a key that it holds nothing of, it may have forgotten all.
fn missing_below(version: i64, reached: Option<i64>, forgets: bool) -> Option<i64> {
    let next = reached.map_or(0, |reached| reached.saturating_add(1));
    let is_forgotten = reached.is_none() && forgets;
    (version > next && !is_forgotten).then_some(next)
}

fn stored_by_us(message: &Message, ours: Ours<'_>) -> Result<Held, Failure> {
    if message.is(ours) {
        return Ok(Held::Stored);
    }
    Err(Failure::Conflict(format!(
        "conflict: the stream holds another message under this event's id, on {:?}: does somebody else publish there?",
        message.subject
    )))
}

fn conflict(version: i64) -> Failure {
    Failure::Conflict(format!(
        "conflict: the stream holds version {version} of its key with an id that is not in the events, as if MongoDB had been restored \
         to an earlier state than the stream's"
    ))
}

async fn at(stream: &Stream<()>, sequence: u64) -> Result<Option<Message>, Failure> {
    Ok(told(stream.get_raw_message(sequence).await)?.map(Message::of))
}

async fn last_of(stream: &Stream<()>, subject: &str) -> Result<Option<Message>, Failure> {
    let last = stream.get_last_raw_message_by_subject(subject).await;
    Ok(told(last)?.map(Message::of))
}

/// That there is no message is an answer as well; one that can't be read is its key's matter.
fn told(
    answer: Result<StreamMessage, LastRawMessageError>,
) -> Result<Option<StreamMessage>, Failure> {
    use std::error::Error as _;
    let error = match answer {
        Ok(message) => return Ok(Some(message)),
        Err(error) => error,
    };
    let is_unanswered = |error: &LastRawMessageError| {
        let source = error.source();
        source.is_none_or(|source| source.is::<RequestError>())
    };
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => Ok(None),
        LastRawMessageErrorKind::Other if !is_unanswered(&error) => {
            let error = anyhow::Error::from(error);
            Err(Failure::Passing(
                Whose::Keys,
                error.context("a message of its key can't be read"),
            ))
        }
        _ => Err(unanswered(error.into())),
    }
}

fn unanswered(error: anyhow::Error) -> Failure {
    Failure::Passing(
        Whose::Unclear,
        error.context("asking for the last message of a key"),
    )
}

/// Whether the message is of an event that is there.
async fn holds(outbox: &Outbox, message: &Message, key: &str) -> Result<bool, Failure> {
    let (Ok(id), Some(version)) = (message.id.parse(), message.version) else {
        return Ok(false);
    };
    let held = outbox.clone().holds(id, key.to_owned(), version);
    let held = outbox.db.read(held).await;
    held.map_err(|error| {
        let error = anyhow::Error::from(error);
        Failure::Passing(
            Whose::Keys,
            error.context("looking for the event of a message"),
        )
    })
}

#[cfg(test)]
mod tests;
