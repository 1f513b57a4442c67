//! What the clients tried, and what they were told: the one side of the proof. The other is what the servers hold.

use bson::{DateTime, oid::ObjectId};
use serde::Serialize;
use serde_json::Value;

/// One request of a client.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    /// Of no other attempt: what is found in a ticket, an event or a message tells whose write it was.
    pub(crate) title: String,
    pub(crate) outcome: Outcome,
    /// HTTP status, or 0 where no answer came.
    pub(crate) status: u16,
    /// Milliseconds since the experiment began.
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// Saved, as this version.
    Ok { ticket: String, version: i64 },
    /// Refused: nothing may be left of it.
    Rejected,
    /// No answer, or one that claims nothing: it may be saved, wholly, or not.
    Unknown,
}

/// A ticket as the database holds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) title: String,
}

/// An event as the database holds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) data: Value,
    pub(crate) is_sent: bool,
    pub(crate) is_parked: bool,
}

/// A message as the stream holds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    /// `Nats-Msg-Id`.
    pub(crate) message_id: Option<String>,
    /// `ce-id`.
    pub(crate) event_id: Option<String>,
    pub(crate) payload: Value,
}

impl Message {
    pub(crate) fn key(&self) -> &str {
        self.subject.rsplit('.').next().unwrap_or_default()
    }

    pub(crate) fn version(&self) -> Option<i64> {
        self.payload["version"].as_i64()
    }
}

/// Everything that the checker is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub(crate) attempts: Vec<Attempt>,
    /// Keys of events that were planted without a ticket, to be parked.
    pub(crate) planted: Vec<String>,
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) events: Vec<Event>,
    /// In the stream's order.
    pub(crate) messages: Vec<Message>,
}

/// An event that can never be published, as the service would record it; `data` is what is wrong with it.
pub(crate) fn planted_event(key: &str, version: i64, data: bson::Document) -> bson::Document {
    bson::doc! {
        "_id": ObjectId::new(), "type": "ticket.updated", "subject": format!("ticket.updated.{key}"),
        "key": key, "version": version, "data": data, "sent": "NO", "createdAt": DateTime::now(),
    }
}
