//! What the clients tried, and what they were told: the one side of the proof. The other is what the servers hold.

use serde::Serialize;
use serde_json::Value;

/// One request of a client.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    /// The trace id of all its tries and of no other attempt: the one of an event or a message tells whose write it was.
    pub(crate) trace: String,
    /// Members that the data of its event must have.
    pub(crate) says: Value,
    /// The status that the answer must have.
    pub(crate) expected: u16,
    pub(crate) outcome: Outcome,
    /// HTTP status of the last try, or 0 where no answer came.
    pub(crate) status: u16,
    /// How often it was sent.
    pub(crate) tries: u32,
    /// Milliseconds since the load began.
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// Saved, as this version.
    Accepted { key: String, version: i64 },
    /// Nothing may be left of it.
    Refused,
    /// No try reached an instance: nothing may be left of it.
    NotSent,
    /// No answer, or one that claims nothing: it may be saved, wholly, or not.
    Unknown,
}

impl Attempt {
    /// Whether it had to be refused.
    pub(crate) fn must_be_refused(&self) -> bool {
        self.expected >= 400
    }

    /// Whether its answer says what became of it.
    pub(crate) fn is_clear(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted { .. } | Outcome::Refused)
    }

    /// Whether its answer is clear, and the one that it had to be.
    pub(crate) fn is_answered_rightly(&self) -> bool {
        self.is_clear() && self.status == self.expected
    }

    /// From the first try to the last answer.
    pub(crate) fn took_ms(&self) -> u64 {
        self.ended_ms - self.began_ms
    }
}

/// A document as the database holds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Document {
    pub(crate) key: String,
    pub(crate) version: i64,
    /// Members that the data of its last event must have.
    pub(crate) says: Value,
}

/// An event as the database holds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) data: Value,
    pub(crate) traceparent: Option<String>,
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
    pub(crate) traceparent: Option<String>,
    /// When the stream stored it, in milliseconds since the load began.
    pub(crate) stored_ms: u64,
}

impl Event {
    /// The trace id of the write that it comes from.
    pub(crate) fn trace(&self) -> Option<&str> {
        trace_of(self.traceparent.as_deref())
    }
}

impl Message {
    /// The trace id of the write that it comes from.
    pub(crate) fn trace(&self) -> Option<&str> {
        trace_of(self.traceparent.as_deref())
    }
}

/// See <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn trace_of(traceparent: Option<&str>) -> Option<&str> {
    traceparent?.split('-').nth(1)
}

/// Everything that the checker is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub(crate) attempts: Vec<Attempt>,
    /// Keys of events that were planted without a document, to be parked.
    pub(crate) planted: Vec<String>,
    pub(crate) documents: Vec<Document>,
    pub(crate) events: Vec<Event>,
    /// In the stream's order.
    pub(crate) messages: Vec<Message>,
}
