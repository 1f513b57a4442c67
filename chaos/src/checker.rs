//! Compares what clients were told with what database and stream hold, and names every broken promise.
//! It knows nothing of how the data came about, so hand-made data can prove the checker itself (see `tests`).
//! `attempts` judges the answers, `saved` the database, `published` the stream.

mod attempts;
mod published;
mod saved;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use crate::history::{Attempt, Document, Event, Message, Observed};

/// A promise that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// An accepted write without its document, its event or its message.
    Lost,
    /// A document's version without an event, or an event without a document of its version.
    Half,
    /// An event or a message of a write that was refused or never sent, or of none.
    Phantom,
    /// `YES` without a message.
    Premature,
    /// `NO`, and nothing that explains it.
    Stuck,
    /// A message id, or a version of a document, stored twice.
    Duplicate,
    /// One write, sent more than once with one `Idempotency-Key`, and saved more than once.
    Repeated,
    /// A document's versions not in their order.
    Reordered,
    /// A message that differs from its event, an event from its write, or a document from its last event.
    Altered,
    /// What had to be refused was accepted, or saved.
    WronglyAccepted,
    /// What had to be accepted was refused.
    WronglyRefused,
    /// Accepted or refused as it had to be, but with another status.
    WrongStatus,
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Lost,
        Self::Half,
        Self::Phantom,
        Self::Premature,
        Self::Stuck,
        Self::Duplicate,
        Self::Repeated,
        Self::Reordered,
        Self::Altered,
        Self::WronglyAccepted,
        Self::WronglyRefused,
        Self::WrongStatus,
    ];
}

/// A broken promise and the documents that show it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) what: &'static str,
    pub(crate) documents: Value,
}

/// Every broken promise in what was observed; none is what we hope for.
pub(crate) fn check(observed: &Observed) -> Vec<Violation> {
    let index = Index::new(observed);
    let mut found = Findings::default();
    attempts::answers(observed, &mut found);
    attempts::accepted(observed, &index, &mut found);
    attempts::without_trace(observed, &mut found);
    saved::documents(observed, &index, &mut found);
    saved::events(observed, &index, &mut found);
    published::marks(observed, &index, &mut found);
    published::messages(observed, &index, &mut found);
    found.0
}

#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, kind: Kind, what: &'static str, documents: Value) {
        self.0.push(Violation {
            kind,
            what,
            documents,
        });
    }
}

struct Index<'a> {
    /// By trace id.
    attempts: HashMap<&'a str, &'a Attempt>,
    /// By key.
    documents: HashMap<&'a str, &'a Document>,
    /// By key and version.
    events: BTreeMap<(&'a str, i64), Vec<&'a Event>>,
    events_by_id: HashMap<&'a str, &'a Event>,
    /// Ids of the events that the stream holds.
    stored: HashSet<&'a str>,
}

impl<'a> Index<'a> {
    fn new(observed: &'a Observed) -> Self {
        let mut events = BTreeMap::<_, Vec<_>>::new();
        for event in &observed.events {
            let of = (event.key.as_str(), event.version);
            events.entry(of).or_default().push(event);
        }
        Self {
            attempts: by(&observed.attempts, |attempt| &attempt.trace),
            documents: by(&observed.documents, |document| &document.key),
            events,
            events_by_id: by(&observed.events, |event| &event.id),
            stored: observed.messages.iter().filter_map(identity).collect(),
        }
    }

    fn event(&self, key: &str, version: i64) -> Option<&'a Event> {
        self.events
            .get(&(key, version))
            .and_then(|events| events.first())
            .copied()
    }

    /// The attempt that an event comes from.
    fn attempt(&self, event: &Event) -> Option<&'a Attempt> {
        self.attempts.get(event.trace()?).copied()
    }
}

fn by<T>(all: &[T], name: impl Fn(&T) -> &String) -> HashMap<&str, &T> {
    all.iter().map(|one| (name(one).as_str(), one)).collect()
}

/// Whether each member of `says` is in `data`, with the same value.
fn agree(data: &Value, says: &Value) -> bool {
    let mut members = says.as_object().into_iter().flatten();
    members.all(|(name, value)| data.get(name) == Some(value))
}

/// Which event a message says that it is.
fn identity(message: &Message) -> Option<&str> {
    message
        .message_id
        .as_deref()
        .or(message.event_id.as_deref())
}
