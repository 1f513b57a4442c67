//! Compares what clients were told with what database and stream hold, and names every broken promise.
//! It knows nothing of how the data came about, so hand-made data can prove the checker itself (see `tests`).
//! `attempts` and `answers` judge what clients were told, `times` when, `saved` the database, `published`, `headers` and `copies` the stream.

mod answers;
mod attempts;
mod copies;
mod headers;
mod kind;
mod orders;
mod published;
mod saved;
#[cfg(test)]
mod tests;
mod times;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

pub(crate) use kind::Kind;

use crate::history::{Attempt, Document, Event, Message, Observed};

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
    answers::said(observed, &index, &mut found);
    answers::stored(observed, &index, &mut found);
    answers::read(observed, &index, &mut found);
    times::writes(observed, &index, &mut found);
    times::reads(observed, &mut found);
    times::preconditions(observed, &index, &mut found);
    times::publications(observed, &index, &mut found);
    saved::documents(observed, &index, &mut found);
    saved::events(observed, &index, &mut found);
    published::marks(observed, &index, &mut found);
    published::messages(observed, &index, &mut found);
    published::parked(observed, &mut found);
    orders::versions(observed, &index, &mut found);
    orders::at_the_end(observed, &index, &mut found);
    orders::refusals(observed, &index, &mut found);
    copies::replicas(observed, &mut found);
    copies::seen(observed, &mut found);
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
    /// The first event of each trace id.
    events_by_trace: HashMap<&'a str, &'a Event>,
    /// Ids of the events that the stream holds.
    stored: HashSet<&'a str>,
}

impl<'a> Index<'a> {
    fn new(observed: &'a Observed) -> Self {
        let mut events = BTreeMap::<_, Vec<_>>::new();
        let mut events_by_trace = HashMap::new();
        for event in &observed.events {
            if let Some(trace) = event.trace() {
                events_by_trace.entry(trace).or_insert(event);
            }
            let of = (event.key.as_str(), event.version);
            events.entry(of).or_default().push(event);
        }
        Self {
            attempts: by(&observed.attempts, |attempt| &attempt.trace),
            documents: by(&observed.documents, |document| &document.key),
            events,
            events_by_trace,
            events_by_id: by(&observed.events, |event| &event.id),
            stored: observed
                .messages
                .iter()
                .filter_map(Message::identity)
                .collect(),
        }
    }

    fn event(&self, key: &str, version: i64) -> Option<&'a Event> {
        self.events
            .get(&(key, version))
            .and_then(|events| events.first())
            .copied()
    }

    /// The event of a write's own.
    fn own_event(&self, attempt: &Attempt) -> Option<&'a Event> {
        self.events_by_trace.get(attempt.trace.as_str()).copied()
    }

    /// Whether the answer may say that nothing was to be changed: that is how the document was.
    fn may_have_changed_nothing(&self, attempt: &Attempt, told: &Event) -> bool {
        let may_be_so = attempt.expected == 200 && self.own_event(attempt).is_none();
        may_be_so && agree(&told.data, &attempt.says)
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
