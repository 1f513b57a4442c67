//! Publishes one event so that the stream stores it exactly once.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_nats::{
    HeaderMap, HeaderName, Subject,
    jetstream::{
        context::PublishError,
        message::PublishMessage,
        publish::PublishAck,
        stream::{LastRawMessageError, LastRawMessageErrorKind},
    },
};
use bson::{RawBsonRef, RawDocument};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{
    JetStream,
    failure::{Failure, is_wrong_sequence},
};
use crate::Event;

const ID_HEADER: &str = "ce-id";
const VERSION_HEADER: &str = "ce-keyversion";
/// The server drops a connection that sends a line of more than 4 KiB (`max_control_line`): the subject, an inbox for the
/// acknowledgement, and sizes.
const LONGEST_SUBJECT: usize = 4_000;
/// More are forgotten, and asked for again.
const MOST_SEQUENCES: usize = 10_000;
/// CloudEvents' HTTP binding, whose rule NATS takes over: space, quote, percent and what is not printable ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// What the stream holds of a subject.
enum Last {
    /// The event, or a later version of its key.
    Stored,
    /// Only earlier ones; the sequence of the last, or 0.
    Earlier(u64),
}

impl JetStream {
    /// Publishes an event and waits until the stream holds it.
    ///
    /// The message id removes a copy within the stream's window. Outside it, the expected sequence of the
    /// subject's last message does: the stream refuses a message that is not the next, whenever it arrives.
    pub(crate) async fn publish(&self, event: &Event) -> Result<(), Failure> {
        const ATTEMPTS: usize = 2;
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
        let payload = payload(event)?;
        let mut expected = match self.last.of(&subject) {
            Some((version, sequence)) if version < event.version => sequence,
            // The first of its subject, most likely; the stream refuses it otherwise.
            None => 0,
            Some(_) => match self.last_of(&subject, event).await? {
                Last::Stored => return Ok(()),
                Last::Earlier(sequence) => sequence,
            },
        };
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            match self.send(&subject, event, payload.clone(), expected).await {
                Err(error) if is_wrong_sequence(&error) => {
                    match self.last_of(&subject, event).await? {
                        Last::Stored => return Ok(()),
                        Last::Earlier(sequence) => expected = sequence,
                    }
                    refused = Some(error);
                }
                Err(error) => return Err(Failure::from(error)),
                Ok(ack) if ack.duplicate && event.replay => {
                    return match self.last_of(&subject, event).await? {
                        Last::Stored => Ok(()),
                        Last::Earlier(_) => Err(Failure::Event(anyhow::anyhow!(
                            "the stream still knows the id of a message that it lost, until its window has passed"
                        ))),
                    };
                }
                Ok(ack) => {
                    self.last.remember(subject, event.version, ack.sequence);
                    return Ok(());
                }
            }
        }
        Err(Failure::Event(anyhow::anyhow!(
            "the subject keeps changing: {refused:?}"
        )))
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
        expected: u64,
    ) -> Result<PublishAck, PublishError> {
        let message = PublishMessage::build()
            .headers(headers(event, &self.service))
            .payload(payload)
            .message_id(event.id.to_hex())
            // Where ours is gone, another with the same subjects would acknowledge.
            .expected_stream(&self.stream.name)
            .expected_last_subject_sequence(expected);
        self.jetstream
            .send_publish(subject.to_owned(), message)
            .await?
            .await
    }

    /// Asks the stream's leader, never a replica that may lag.
    async fn last_of(&self, subject: &str, event: &Event) -> Result<Last, Failure> {
        let stream = self
            .jetstream
            .get_stream_no_info(&self.stream.name)
            .await
            .map_err(not_told)?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Err(error) => none_stored(error),
            Ok(message) => {
                let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
                let version = header(VERSION_HEADER).and_then(|version| version.parse().ok());
                let is_stored = if event.replay {
                    // Later versions say nothing of one that was lost.
                    header(ID_HEADER) == Some(event.id.to_hex().as_str())
                } else {
                    version.is_some_and(|version: i64| version >= event.version)
                };
                if is_stored {
                    Ok(Last::Stored)
                } else {
                    Ok(Last::Earlier(message.sequence))
                }
            }
        }
    }
}

/// The last message of each subject, as this instance published it: version and sequence. It saves the question to the stream.
#[derive(Clone, Default)]
pub(super) struct LastSequences(Arc<Mutex<HashMap<String, (i64, u64)>>>);

impl LastSequences {
    fn of(&self, subject: &str) -> Option<(i64, u64)> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(subject).copied()
    }

    fn remember(&self, subject: String, version: i64, sequence: u64) {
        // A first event is alone on its subject: no other names its sequence.
        if version == 0 {
            return;
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST_SEQUENCES {
            last.clear();
        }
        last.insert(subject, (version, sequence));
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
    insert("content-type", "application/json");
    if let Some(traceparent) = &event.traceparent {
        insert("traceparent", traceparent);
    }
    headers
}

/// That there is no message is an answer as well.
fn none_stored(error: LastRawMessageError) -> Result<Last, Failure> {
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => Ok(Last::Earlier(0)),
        _ => Err(not_told(error)),
    }
}

fn not_told(error: impl Into<anyhow::Error>) -> Failure {
    let error = error.into();
    Failure::Broker(error.context("asking for the last message of a subject"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_of_a_subject_is_told_from_no_answer() {
        let kind = LastRawMessageErrorKind::NoMessageFound;
        let none = none_stored(LastRawMessageError::new(kind));
        assert!(matches!(none, Ok(Last::Earlier(0))));
        let unknown = none_stored(LastRawMessageError::new(LastRawMessageErrorKind::Other));
        assert!(matches!(unknown, Err(Failure::Broker(_))));
    }

    #[test]
    fn the_last_message_of_a_subject_that_changes_is_remembered() {
        let last = LastSequences::default();
        assert_eq!(last.of("updated.a"), None);
        last.remember("updated.a".to_owned(), 1, 7);
        last.remember("updated.b".to_owned(), 1, 8);
        last.remember("updated.a".to_owned(), 2, 9);
        last.remember("created.c".to_owned(), 0, 10);
        assert_eq!(last.of("updated.a"), Some((2, 9)));
        assert_eq!(last.of("updated.b"), Some((1, 8)));
        assert_eq!(last.of("created.c"), None, "nothing follows it");
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let last = LastSequences::default();
        for key in 0..MOST_SEQUENCES {
            last.remember(key.to_string(), 1, 1);
        }
        assert_eq!(last.of("0"), Some((1, 1)));
        last.remember("one more".to_owned(), 1, 1);
        assert_eq!(last.of("0"), None);
        assert_eq!(last.of("one more"), Some((1, 1)));
    }
}
