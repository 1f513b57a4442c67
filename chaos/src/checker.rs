//! Compares what clients were told with what database and stream hold, and names every broken promise.
//! It knows nothing of how the data came about, so hand-made data can prove the checker itself (see `tests`).
//! `attempts` and `answers` judge what clients were told, `times` when, `saved` the database, `published`, `headers` and `copies` the stream,
//! `orders` what orders do to documents, `both` what two services know of each other.

mod answers;
mod attempts;
mod both;
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

pub(crate) use both::moves;
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
    let mut found = Findings::default();
    promises(observed, &mut found);
    if let Some(sibling) = &observed.sibling {
        promises(sibling, &mut found);
        both::judge(observed, sibling, &mut found);
    }
    found.0
}

/// Of one service.
fn promises(observed: &Observed, found: &mut Findings) {
    let index = Index::new(observed);
    attempts::answers(observed, found);
    attempts::accepted(observed, &index, found);
    attempts::without_trace(observed, found);
    answers::said(observed, &index, found);
    answers::stored(observed, &index, found);
    answers::read(observed, &index, found);
    times::writes(observed, &index, found);
    times::reads(observed, found);
    times::preconditions(observed, &index, found);
    times::publications(observed, &index, found);
    saved::documents(observed, &index, found);
    saved::events(observed, &index, found);
    published::marks(observed, &index, found);
    published::messages(observed, &index, found);
    published::parked(observed, found);
    orders::versions(observed, &index, found);
    orders::at_the_end(observed, &index, found);
    orders::refusals(observed, &index, found);
    copies::replicas(observed, found);
    copies::seen(observed, found);
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

    /// By then it was saved, as far as anybody knows.
    fn saved_ms(&self, event: &Event) -> u64 {
        let answered = self.attempt(event).filter(|attempt| attempt.is_clear());
        answered.map_or(event.made_at_ms, |attempt| attempt.ended_ms)
    }
}

fn by<T>(all: &[T], name: impl Fn(&T) -> &String) -> HashMap<&str, &T> {
    all.iter().map(|one| (name(one).as_str(), one)).collect()
}

/// Whether each member of `says` is in `data`, with the same value; one may be named by its path, such as `/ticket/id`.
fn agree(data: &Value, says: &Value) -> bool {
    let mut members = says.as_object().into_iter().flatten();
    members.all(|(name, value)| data.get(name).or(data.pointer(name)) == Some(value))
}
