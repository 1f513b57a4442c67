//! What database and stream hold.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Answer;

/// A document as the database holds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Document {
    pub(crate) key: String,
    pub(crate) version: i64,
    /// All that the data of its last event must say, and no more.
    pub(crate) says: Value,
    /// When it was made and changed last, in milliseconds since 1970: so its first and its last event say.
    pub(crate) made_ms: i64,
    pub(crate) changed_ms: i64,
    /// The orders that want it while another holds it.
    pub(crate) waiting: Vec<String>,
    /// Members that it must not have.
    pub(crate) strange: Vec<String>,
}

/// What another service knows of a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Known {
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) says: Value,
}

/// An event as the database holds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) r#type: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) data: Value,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    /// In milliseconds since 1970, and as the message has to say it.
    pub(crate) made_ms: i64,
    pub(crate) made: String,
    /// When that was, in milliseconds since the load began.
    pub(crate) made_at_ms: u64,
    pub(crate) is_sent: bool,
    pub(crate) is_parked: bool,
    /// Whether an operator gave it up.
    pub(crate) is_skipped: bool,
}

/// A message as the stream holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    /// By their names as they came.
    pub(crate) headers: BTreeMap<String, String>,
    /// Null where it has none.
    pub(crate) payload: Value,
    /// When the stream stored it, in milliseconds since the load began.
    pub(crate) stored_ms: u64,
}

/// A message, as it is compared between the servers of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Copy {
    pub(crate) sequence: u64,
    pub(crate) id: Option<String>,
    /// Of all that it consists of.
    pub(crate) hash: u64,
}

/// What one server of the cluster holds of the stream.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Replica {
    pub(crate) server: String,
    pub(crate) copies: Vec<Copy>,
}

/// A message as a consumer got it while all went on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seen {
    /// How often the stream was made before.
    pub(crate) stream: u32,
    pub(crate) sequence: u64,
    pub(crate) id: Option<String>,
    /// When the stream stored it, in milliseconds since the load began.
    pub(crate) stored_ms: u64,
}

/// What is stored of the answer to a write with an `Idempotency-Key`, which is the write's trace id.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StoredAnswer {
    pub(crate) trace: String,
    pub(crate) answer: Answer,
}

impl Event {
    /// The trace id of the write that it comes from.
    pub(crate) fn trace(&self) -> Option<&str> {
        trace_of(self.traceparent.as_deref())
    }

    /// The type of the message that stands for it where it was given up.
    pub(crate) fn type_of_skipped(&self) -> String {
        format!("{}.skipped", self.noun())
    }

    /// `ce-source` of its message.
    pub(crate) fn source(&self) -> String {
        format!("/{}s", self.noun())
    }

    fn noun(&self) -> &str {
        self.r#type.split('.').next().unwrap_or_default()
    }
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn message_id(&self) -> Option<&str> {
        self.header("Nats-Msg-Id")
    }

    /// Which event it says that it is.
    pub(crate) fn identity(&self) -> Option<&str> {
        self.message_id().or(self.header("ce-id"))
    }

    /// The trace id of the write that it comes from.
    pub(crate) fn trace(&self) -> Option<&str> {
        trace_of(self.header("traceparent"))
    }

    /// Whether an operator had it published again.
    pub(crate) fn is_replayed(&self) -> bool {
        self.headers.contains_key("outbox-reached")
    }
}

/// See <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn trace_of(traceparent: Option<&str>) -> Option<&str> {
    traceparent?.split('-').nth(1)
}
