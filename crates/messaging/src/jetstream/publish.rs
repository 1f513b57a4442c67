//! Publishes one event so that the stream stores it exactly once.

use std::{borrow::Cow, collections::HashMap, hash::BuildHasher, sync::Arc, time::Instant};

use async_nats::{
    HeaderMap, HeaderName, Subject,
    jetstream::{context::PublishError, message::PublishMessage, publish::PublishAck},
};
use bson::{RawBsonRef, RawDocument};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{
    JetStream,
    failure::{Failure, Whose, is_another_on_its_way, is_wrong_sequence},
    held::{Before, Held, ID_HEADER, Ours, REACHED_HEADER, VERSION_HEADER},
};
use crate::{Event, Outbox};

/// The server drops a connection that sends a line of more than 4 KiB (`max_control_line`): the subject, an inbox for the
/// acknowledgement, and sizes.
const LONGEST_SUBJECT: usize = 4_000;
/// More keys are forgotten, and asked for again. As many as a hash table of 32,768 places takes.
const MOST_KEYS: usize = 28_672;
/// CloudEvents' HTTP binding, whose rule NATS takes over: space, quote, percent and what is not printable ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

impl JetStream {
    /// Publishes an event and waits until the stream holds it.
    ///
    /// The message id removes a copy within the stream's window. Outside it, the expected sequence of the
    /// subject's last message does: the stream refuses a message that is not the next, whenever it arrives.
    pub(crate) async fn publish(&self, outbox: &Outbox, event: &Event) -> Result<(), Failure> {
        const ATTEMPTS: usize = 2;
        let subject = self.subject(event)?;
        let payload = if event.is_skipped {
            Bytes::new()
        } else {
            payload(event)?
        };
        let ours = Ours {
            event,
            subject: &subject,
            payload: &payload,
        };
        let mut before = match self.published.before(event, &subject) {
            Some(before) => before,
            None => match self.ask(outbox, ours).await? {
                Held::Stored => return Ok(()),
                Held::Before(before) => before,
            },
        };
        let (mut refused, began) = (None, Instant::now());
        for _ in 0..ATTEMPTS {
            match self.send(&subject, event, payload.clone(), before).await {
                Err(error) if is_wrong_sequence(&error) => {
                    match self.ask(outbox, ours).await? {
                        Held::Stored => return Ok(()),
                        Held::Before(found) => before = found,
                    }
                    refused = Some(error);
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    return Err(failure
                        .map(|error| self.explained(error, began, |denied| denied == subject)));
                }
                Ok(ack) => {
                    let sequence = ack.sequence;
                    if ack.duplicate {
                        self.check_first(sequence, ours).await?;
                    }
                    self.published.remember(event, &subject, before, sequence);
                    return Ok(());
                }
            }
        }
        let is_stored_soon = refused.as_ref().is_some_and(is_another_on_its_way);
        let whose = if is_stored_soon {
            Whose::OnItsWay
        } else {
            Whose::Keys
        };
        Err(Failure::Passing(
            whose,
            anyhow::anyhow!("the subject keeps changing: {refused:?}"),
        ))
    }

    /// Looks at the first message with the event's id, which the stream has taken this one for a copy of. Where somebody has deleted it since,
    /// the event counts as published, unless it is to be published again.
    async fn check_first(&self, sequence: u64, ours: Ours<'_>) -> Result<(), Failure> {
        let is_held = Box::pin(self.holds_at(sequence, ours)).await?;
        if is_held || !ours.event.replay {
            return Ok(());
        }
        // An id is known for longer than its message is there.
        let error = anyhow::anyhow!(
            "the stream still knows the id of a message that it lost, until its window has passed"
        );
        Err(Failure::Passing(Whose::Keys, error))
    }

    /// On the heap, as it is rare: hundreds of publications are in flight, and each has room for what it may do.
    fn ask<'a>(
        &'a self,
        outbox: &'a Outbox,
        ours: Ours<'a>,
    ) -> BoxFuture<'a, Result<Held, Failure>> {
        let began = Instant::now();
        let held = self.held(outbox, ours).map(move |held| {
            let explain = |error| self.explained_answer(error, began);
            held.map_err(|failure| failure.map(explain))
        });
        held.boxed()
    }

    /// Whether NATS can take the event's subject.
    pub(crate) fn is_possible(&self, event: &Event) -> bool {
        self.subject(event).is_ok()
    }

    fn subject(&self, event: &Event) -> Result<String, Failure> {
        let subject = format!("{}{}", self.prefix, event.subject);
        if subject.len() > LONGEST_SUBJECT {
            let reason = format!("its subject is longer than {LONGEST_SUBJECT} bytes");
            return Err(Failure::Never(reason));
        }
        if !self.is_of_stream(&subject) {
            return Err(Failure::Never(format!(
                "its subject {subject:?} is not one of {:?}",
                self.stream.subjects
            )));
        }
        Ok(subject)
    }

    /// A subject that is not would fail like a stream that is away.
    pub(super) fn is_of_stream(&self, subject: &str) -> bool {
        let is_concrete = Subject::validated(subject).is_ok() && !subject.contains(['*', '>']);
        let is_under = |pattern: &String| {
            // A subject does not end with the root's dot.
            subject.starts_with(pattern.strip_suffix('>').unwrap_or(pattern))
        };
        is_concrete && self.stream.subjects.iter().any(is_under)
    }

    async fn send(
        &self,
        subject: &str,
        event: &Event,
        payload: Bytes,
        before: Before,
    ) -> Result<PublishAck, PublishError> {
        let mut headers = headers(event, &self.service);
        if let Some(reached) = before.reached.filter(|_| event.replay) {
            headers.insert(REACHED_HEADER, reached.to_string());
        }
        let message = PublishMessage::build()
            .headers(headers)
            .payload(payload)
            .message_id(event.id.to_hex())
            // Where ours is gone, another with the same subjects would acknowledge.
            .expected_stream(&self.stream.name)
            .expected_last_subject_sequence(before.sequence);
        self.jetstream
            .send_publish(subject.to_owned(), message)
            .await?
            .await
    }
}

/// What this instance has published: saves the question.
#[derive(Clone, Default)]
pub(super) struct Published(Arc<Mutex<HashMap<String, Key>>>);

struct Key {
    reached: i64,
    /// The hash of its last message's subject, which would be half of what a key takes. Of two subjects with one hash, the stream refuses
    /// the wrong guess.
    subject: u64,
    sequence: u64,
}

impl Published {
    /// `None` where it has to be asked.
    pub(super) fn before(&self, event: &Event, subject: &str) -> Option<Before> {
        let keys = self.0.lock();
        match keys.get(&event.key) {
            _ if event.replay => None,
            Some(key) if key.reached == event.version.saturating_sub(1) => Some(Before {
                // Of another type's subject nothing is known: the stream refuses a wrong guess.
                sequence: if key.subject == keys.hasher().hash_one(subject) {
                    key.sequence
                } else {
                    0
                },
                reached: Some(key.reached),
            }),
            Some(_) => None,
            // The first of its key, most likely; the stream refuses it otherwise.
            None => (event.version == 0).then(Before::default),
        }
    }

    pub(super) fn remember(&self, event: &Event, subject: &str, before: Before, sequence: u64) {
        let mut keys = self.0.lock();
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        let reached = before.reached.unwrap_or_default().max(event.version);
        let key = Key {
            reached,
            subject: keys.hasher().hash_one(subject),
            sequence,
        };
        keys.insert(event.key.clone(), key);
    }
}

/// The payload as JSON, which knows neither text that is not UTF-8 nor numbers that are none.
fn payload(event: &Event) -> Result<Bytes, Failure> {
    if let Some(member) = not_finite(&event.data) {
        return Err(Failure::Never(format!(
            "{member} of its data is a number that JSON does not have"
        )));
    }
    let payload = serde_json::to_vec(&event.data);
    let payload = payload.map_err(|error| Failure::Never(format!("its data is no JSON: {error}")));
    payload.map(Bytes::from)
}

/// The name of a member that is `NaN` or infinite, at any depth.
fn not_finite(document: &RawDocument) -> Option<String> {
    document
        .iter()
        .flatten()
        .find_map(|(name, value)| match value {
            RawBsonRef::Double(number) if !number.is_finite() => Some(name.as_str().to_owned()),
            RawBsonRef::Document(inner) => not_finite(inner),
            RawBsonRef::Array(inner) => not_finite(RawDocument::from_bytes(inner.as_bytes()).ok()?),
            _ => None,
        })
}

/// CloudEvents 1.0 in binary mode, and the request's trace.
fn headers(event: &Event, service: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut insert = |name: &'static str, value: &str| {
        let value = Cow::from(utf8_percent_encode(value, ESCAPED));
        headers.insert(HeaderName::from_static(name), &*value);
    };
    insert("ce-specversion", "1.0");
    insert(ID_HEADER, &event.id.to_hex());
    insert("ce-source", &format!("/{service}"));
    insert("ce-type", &event.r#type);
    insert("ce-subject", &event.key);
    insert(
        "ce-time",
        &event.created_at.try_to_rfc3339_string().unwrap_or_default(),
    );
    insert(VERSION_HEADER, &event.version.to_string());
    if !event.is_skipped {
        insert("content-type", "application/json");
    }
    // As they came: these two are no attributes of CloudEvents.
    let trace = [
        ("traceparent", &event.traceparent),
        ("tracestate", &event.tracestate),
    ];
    for (name, value) in trace {
        let is_text = |value: &&String| value.bytes().all(|it| matches!(it, b' '..=b'~'));
        if let Some(value) = value.as_ref().filter(is_text) {
            headers.insert(HeaderName::from_static(name), value.as_str());
        }
    }
    headers
}

#[cfg(test)]
mod tests;
