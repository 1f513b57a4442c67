//! What the clients tried, and what they were told: the one side of the proof. The other is what the servers hold (`stored`).

mod orders;
mod stored;

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

pub(crate) use orders::{Mark, OrderEvent, Orders, PutAside};
pub(crate) use stored::{Copy, Document, Event, Known, Message, Replica, Seen, StoredAnswer};

/// What a write is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Intent {
    Creation,
    Change,
    /// A change that must be refused.
    Refusal,
    /// A change with the newest version that its client knows in `If-Match`.
    IfMatch,
    /// A change to what its client knows that is there already.
    NoChange,
    /// A creation without `Idempotency-Key`, which is sent once.
    Keyless,
    /// A change that is sent to two instances at once, with one `Idempotency-Key`.
    Twice,
}

/// One request of a client.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    /// The number of the operation: the same seed makes the same one.
    pub(crate) operation: u64,
    /// The trace id of all its tries and of no other attempt: the one of an event or a message tells whose write it was.
    pub(crate) trace: String,
    pub(crate) intent: Intent,
    pub(crate) path: String,
    /// The version that `If-Match` names.
    pub(crate) if_match: Option<i64>,
    /// Members that the data of its event must have.
    pub(crate) says: Value,
    /// The status that the answer must have.
    pub(crate) expected: u16,
    /// Those that it may have instead, because of what others did.
    pub(crate) or_refused: &'static [u16],
    pub(crate) outcome: Outcome,
    /// Every clear answer of its tries.
    pub(crate) answers: Vec<Answer>,
    /// HTTP status of the last try, or 0 where no answer came.
    pub(crate) status: u16,
    /// How often it was sent.
    pub(crate) tries: u32,
    /// Milliseconds since the load began.
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
}

/// What an answer says, beside what it means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) body: Value,
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

    /// Whether its answer is clear, and one that it may be. Somebody else's change may come before one that names a version.
    pub(crate) fn is_answered_rightly(&self) -> bool {
        let was_overtaken = self.if_match.is_some() && self.status == 412;
        let is_right = self.status == self.expected || was_overtaken || self.met_an_order();
        self.is_clear() && (is_right || self.or_refused.contains(&self.status))
    }

    /// Whether it was refused because an order holds the document, where that may be. A last answer of 409 that is unclear says only that it is
    /// under way.
    pub(crate) fn met_an_order(&self) -> bool {
        let may_be = self.status == 409 && [200, 412].contains(&self.expected);
        may_be && self.outcome == Outcome::Refused
    }

    pub(crate) fn has_key(&self) -> bool {
        self.intent != Intent::Keyless
    }

    pub(crate) fn tracestate(&self) -> String {
        tracestate(self.operation)
    }

    /// From the first try to the last answer.
    pub(crate) fn took_ms(&self) -> u64 {
        self.ended_ms - self.began_ms
    }
}

/// What the client of an operation sends as `tracestate`.
pub(crate) fn tracestate(operation: u64) -> String {
    format!("chaos={operation}")
}

/// One document, as a client read it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Read {
    pub(crate) key: String,
    /// None where there is no such document.
    pub(crate) version: Option<i64>,
    /// What it says; null where the answer was that nothing has changed.
    pub(crate) says: Value,
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
}

/// Everything that the checker is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) reads: Vec<Read>,
    /// Ids of events that were planted without a document.
    pub(crate) planted: Vec<String>,
    pub(crate) documents: Vec<Document>,
    pub(crate) events: Vec<Event>,
    /// What is stored of answers with an `Idempotency-Key`.
    pub(crate) answers: Vec<StoredAnswer>,
    /// In the stream's order.
    pub(crate) messages: Vec<Message>,
    /// What each server of the cluster holds.
    pub(crate) replicas: Vec<Replica>,
    /// What a consumer saw meanwhile, in the order in which it did.
    pub(crate) seen: Vec<Seen>,
    /// When no instance could publish: from, until.
    pub(crate) unhealthy: Vec<(u64, u64)>,
    /// When MongoDB may have changed its primary: from, until.
    pub(crate) elections: Vec<(u64, u64)>,
    pub(crate) orders: Orders,
    /// The service that orders the documents, where it is a real one; and what it knows of them in the end.
    pub(crate) sibling: Option<Box<Observed>>,
    pub(crate) known: Vec<Known>,
    pub(crate) lost: Lost,
}

impl Observed {
    /// Each event's id, and when its message was stored: more than once where the stream has lost it, and got it again.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&str, u64)> {
        let seen = self.seen.iter();
        let seen = seen.filter_map(|seen| Some((seen.id.as_deref()?, seen.stored_ms)));
        let held = self.messages.iter();
        seen.chain(held.filter_map(|held| Some((held.identity()?, held.stored_ms))))
    }

    /// When each event's message was stored first.
    pub(crate) fn first_stored(&self) -> HashMap<&str, u64> {
        let mut first = HashMap::new();
        for (id, stored_ms) in self.stored() {
            let known = first.entry(id).or_insert(stored_ms);
            *known = stored_ms.min(*known);
        }
        first
    }

    /// Of both services.
    pub(crate) fn all_attempts(&self) -> Vec<Attempt> {
        let placed = self.sibling.iter().flat_map(|it| &it.attempts);
        self.attempts.iter().chain(placed).cloned().collect()
    }
}

/// What the stream has lost on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lost(pub(crate) Vec<Loss>);

/// Messages were taken out of the stream, and published again later.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    /// Of this key, or of all.
    pub(crate) key: Option<String>,
    pub(crate) from_ms: u64,
    /// What was stored later stayed.
    pub(crate) until_ms: u64,
}

impl Lost {
    /// Whether messages of a key were taken at some time between: one that was saved at the first moment may then be told of at the second
    /// only.
    pub(crate) fn has(&self, key: &str, from_ms: u64, until_ms: u64) -> bool {
        let of_key = |loss: &&Loss| loss.key.as_deref().is_none_or(|lost| lost == key);
        let mut of_key = self.0.iter().filter(of_key);
        of_key.any(|loss| loss.from_ms <= until_ms && loss.until_ms >= from_ms)
    }
}
