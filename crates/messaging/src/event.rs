//! The event as it is recorded, and the types of events.

use std::collections::BTreeSet;

use bson::{DateTime, RawDocumentBuf, oid::ObjectId, serialize_to_raw_document_buf};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::asyncapi::Payload;

/// The second word of the types of messages that stand for events which an operator gave up.
pub(crate) const SKIPPED: &str = "skipped";

/// A kind of event that a service publishes.
pub struct EventType {
    /// In the past tense, such as `order.created`; the first word is what the event is of.
    pub name: &'static str,
    /// For the AsyncAPI document.
    pub(crate) payload: fn() -> Payload,
}

impl EventType {
    /// One whose payload is a `T`.
    pub const fn of<T: ToSchema>(name: &'static str) -> Self {
        let payload = Payload::of::<T>;
        Self { name, payload }
    }

    /// A new event of this type, to be recorded: what `key` has become with this version of it.
    ///
    /// # Errors
    /// When the payload is nothing that a document can hold.
    pub fn event(
        &self,
        metadata: Metadata,
        key: String,
        version: i64,
        payload: &impl Serialize,
    ) -> bson::error::Result<Event> {
        let data = serialize_to_raw_document_buf(payload)?;
        Ok(Event::new(metadata, self.name, key, version, data))
    }

    /// What the event is of: `order`.
    pub fn noun(&self) -> &'static str {
        noun_of(self.name)
    }

    /// What events of these types are of.
    pub(crate) fn nouns(types: &[Self]) -> BTreeSet<&'static str> {
        types.iter().map(Self::noun).collect()
    }

    /// What an event of type `name` is of; where that is no type of these, and all are of the same, that.
    pub(crate) fn noun_of(types: &[Self], name: &str) -> Option<&'static str> {
        let nouns = Self::nouns(types);
        let of_name = name.split('.').next().and_then(|noun| nouns.get(noun));
        let only = nouns.first().filter(|_| nouns.len() == 1);
        of_name.or(only).copied()
    }

    /// Every subject of these types.
    pub(crate) fn subjects(types: &[Self]) -> Vec<String> {
        let nouns = Self::nouns(types);
        nouns.iter().map(|noun| format!("{noun}.>")).collect()
    }
}

/// The first word of a type's name.
pub(crate) fn noun_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// A fact that the rest of the world has to hear of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Also the message's `Nats-Msg-Id`: the same in every attempt.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// In the past tense, such as `order.created`.
    pub r#type: String,
    /// Where the message goes: `<type>.<key>`, behind the prefix that the connection puts before it.
    pub subject: String,
    /// What the event is about; events of one key are published in the order of their versions.
    pub key: String,
    /// Grows by one with each event of the key, from 0.
    pub version: i64,
    /// The payload, never taken apart: it goes from the database to the message as it is.
    pub data: RawDocumentBuf,
    /// `NO` until the broker has acknowledged the event: the publisher has no other cursor.
    pub sent: Sent,
    /// When the event was made, a moment before its commit.
    pub created_at: DateTime,
    /// The headers of the request that the event comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// Whether an operator gave it back because the broker had lost it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
    /// Whether it stands for one that an operator gave up: it has no payload.
    #[serde(skip)]
    pub(crate) is_skipped: bool,
}

/// Whether the broker acknowledged the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    /// Not yet, or not again since an operator gave it back.
    #[serde(rename = "NO")]
    No,
    /// It did, and the stream holds it.
    #[serde(rename = "YES")]
    Yes,
}

/// What an event says of its making. It is made outside the transaction, which may run its closure more than once: what the closure makes
/// twice must be the same twice.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Also the message's id: no other event may have it.
    pub id: ObjectId,
    pub created_at: DateTime,
    /// The headers of the request that the event comes from (W3C trace context).
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

impl Metadata {
    /// A new id and the time of this moment, without a trace.
    pub fn now() -> Self {
        Self {
            id: ObjectId::new(),
            created_at: DateTime::now(),
            traceparent: None,
            tracestate: None,
        }
    }
}

impl Event {
    /// A new event, to be recorded; its subject is `<type>.<key>`.
    pub fn new(
        metadata: Metadata,
        r#type: &str,
        key: String,
        version: i64,
        data: RawDocumentBuf,
    ) -> Self {
        Self {
            id: metadata.id,
            r#type: r#type.to_owned(),
            subject: format!("{type}.{key}"),
            key,
            version,
            data,
            sent: Sent::No,
            created_at: metadata.created_at,
            traceparent: metadata.traceparent,
            tracestate: metadata.tracestate,
            replay: false,
            is_skipped: false,
        }
    }

    /// What stands for an event that an operator gave up.
    pub(crate) fn skipped(id: ObjectId, r#type: &str, key: String, version: i64) -> Self {
        let metadata = Metadata {
            id,
            ..Metadata::now()
        };
        Self {
            is_skipped: true,
            ..Self::new(metadata, r#type, key, version, RawDocumentBuf::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_noun_has_one_subject_that_takes_all_its_types() {
        let types = ["order.created", "invoice.paid", "order.cancelled"];
        let types = types.map(EventType::of::<serde_json::Value>);
        assert_eq!(EventType::subjects(&types), ["invoice.>", "order.>"]);
        assert!(EventType::subjects(&[]).is_empty());
        assert_eq!(EventType::noun_of(&types, "invoice.lost"), Some("invoice"));
        assert_eq!(EventType::noun_of(&types, "other"), None);
        assert_eq!(EventType::noun_of(&types[..1], "other"), Some("order"));
    }
}
