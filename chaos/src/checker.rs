//! Compares what clients were told with what database and stream hold, and names every broken promise.
//! It knows nothing of how the data came about, so hand-made data can prove the checker itself (see `tests`).

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::history::{Event, Message, Observed, Outcome, Ticket};

/// A promise that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// An accepted write without its ticket, its event or its message.
    Lost,
    /// A ticket's version without an event, or an event without a ticket of its version.
    Half,
    /// An event or a message of a rejected write, or of none.
    Phantom,
    /// `YES` without a message.
    Premature,
    /// `NO`, and nothing that explains it.
    Stuck,
    /// A message id, or a version of a ticket, stored twice.
    Duplicate,
    /// One write, sent more than once with one `Idempotency-Key`, and saved more than once.
    Repeated,
    /// A ticket's versions not in their order.
    Reordered,
    /// A message that differs from its event, or a ticket from its last event.
    Altered,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Lost,
        Self::Half,
        Self::Phantom,
        Self::Premature,
        Self::Stuck,
        Self::Duplicate,
        Self::Repeated,
        Self::Reordered,
        Self::Altered,
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
    attempts(observed, &index, &mut found);
    tickets_and_events(observed, &index, &mut found);
    marks(observed, &index, &mut found);
    stream(observed, &index, &mut found);
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
    tickets: HashMap<&'a str, &'a Ticket>,
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
            tickets: observed
                .tickets
                .iter()
                .map(|t| (t.id.as_str(), t))
                .collect(),
            events,
            events_by_id: observed.events.iter().map(|e| (e.id.as_str(), e)).collect(),
            stored: observed.messages.iter().filter_map(identity).collect(),
        }
    }

    fn event(&self, key: &str, version: i64) -> Option<&'a Event> {
        self.events
            .get(&(key, version))
            .and_then(|events| events.first())
            .copied()
    }
}

/// Which event a message says that it is.
fn identity(message: &Message) -> Option<&str> {
    message
        .message_id
        .as_deref()
        .or(message.event_id.as_deref())
}

fn attempts(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut rejected = HashMap::new();
    for attempt in &observed.attempts {
        match &attempt.outcome {
            Outcome::Unknown => {}
            Outcome::Rejected => drop(rejected.insert(attempt.title.as_str(), attempt)),
            Outcome::Ok { ticket, version } => {
                let saved = index.tickets.get(ticket.as_str());
                if saved.is_none_or(|saved| saved.version < *version) {
                    let shown = json!({ "attempt": attempt, "ticket": saved });
                    found.add(Kind::Lost, "an accepted write without its ticket", shown);
                }
                let event = index.event(ticket, *version);
                if event.is_none_or(|event| event.data["title"] != attempt.title.as_str()) {
                    let shown = json!({ "attempt": attempt, "event": event });
                    found.add(Kind::Lost, "an accepted write without its event", shown);
                } else if event.is_some_and(|event| !index.stored.contains(event.id.as_str())) {
                    let shown = json!({ "attempt": attempt, "event": event });
                    found.add(Kind::Lost, "an accepted write without its message", shown);
                }
            }
        }
    }
    let of = |title: &Value| title.as_str().and_then(|title| rejected.get(title));
    for event in &observed.events {
        if let Some(attempt) = of(&event.data["title"]) {
            let shown = json!({ "attempt": attempt, "event": event });
            found.add(Kind::Phantom, "an event of a rejected write", shown);
        }
    }
    for message in &observed.messages {
        if let Some(attempt) = of(&message.payload["title"]) {
            let shown = json!({ "attempt": attempt, "message": message });
            found.add(Kind::Phantom, "a message of a rejected write", shown);
        }
    }
}

fn tickets_and_events(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let titles: HashSet<&str> = observed.attempts.iter().map(|a| a.title.as_str()).collect();
    let mut of_title = HashMap::new();
    for event in &observed.events {
        if let Some(title) = event.data["title"].as_str()
            && titles.contains(title)
            && let Some(before) = of_title.insert(title, event)
        {
            let shown = json!([before, event]);
            found.add(Kind::Repeated, "a write that was done twice", shown);
        }
    }
    for ticket in &observed.tickets {
        for version in 0..=ticket.version {
            if index.event(&ticket.id, version).is_none() {
                let shown = json!({ "ticket": ticket, "version": version });
                found.add(Kind::Half, "a ticket's version without an event", shown);
            }
        }
        if let Some(last) = index.event(&ticket.id, ticket.version)
            && last.data["title"] != ticket.title.as_str()
        {
            let shown = json!({ "ticket": ticket, "event": last });
            found.add(
                Kind::Altered,
                "a ticket that differs from its last event",
                shown,
            );
        }
    }
    for (&(key, version), events) in &index.events {
        if events.len() > 1 {
            found.add(Kind::Duplicate, "two events of one version", json!(events));
        }
        if observed.planted.iter().any(|planted| planted == key) {
            continue;
        }
        if index
            .tickets
            .get(key)
            .is_none_or(|ticket| ticket.version < version)
        {
            let shown = json!({ "ticket": index.tickets.get(key), "events": events });
            found.add(
                Kind::Half,
                "an event without a ticket of its version",
                shown,
            );
        }
        for event in events {
            if event.data["title"]
                .as_str()
                .is_none_or(|title| !titles.contains(title))
            {
                found.add(Kind::Phantom, "an event of nobody's write", json!(event));
            }
        }
    }
}

fn marks(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut parked = HashMap::new();
    for event in observed.events.iter().filter(|event| event.is_parked) {
        let first = parked.entry(event.key.as_str()).or_insert(event.version);
        *first = event.version.min(*first);
    }
    let is_held_back = |event: &Event| {
        parked
            .get(event.key.as_str())
            .is_some_and(|first| *first <= event.version)
    };
    for event in &observed.events {
        let is_stored = index.stored.contains(event.id.as_str());
        if event.is_sent && !is_stored {
            found.add(Kind::Premature, "YES, but not in the stream", json!(event));
        }
        if !event.is_sent && !is_held_back(event) {
            found.add(Kind::Stuck, "NO, and not parked", json!(event));
        }
        if is_stored && is_held_back(event) {
            found.add(
                Kind::Reordered,
                "published past a parked event",
                json!(event),
            );
        }
    }
}

fn stream(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut ids = HashMap::new();
    let mut versions = HashMap::new();
    let mut last = HashMap::new();
    for message in &observed.messages {
        let Some(event) = identity(message).and_then(|id| index.events_by_id.get(id)) else {
            found.add(Kind::Phantom, "a message of no event", json!(message));
            continue;
        };
        let is_same = message.message_id.as_ref() == Some(&event.id)
            && message.event_id.as_ref() == Some(&event.id)
            && message.subject == event.subject
            && message.payload == event.data;
        if !is_same {
            let shown = json!({ "event": event, "message": message });
            found.add(
                Kind::Altered,
                "a message that differs from its event",
                shown,
            );
        }
        if let Some(id) = &message.message_id
            && let Some(before) = ids.insert(id, message)
        {
            found.add(
                Kind::Duplicate,
                "a message id stored twice",
                json!([before, message]),
            );
        }
        let of = (message.key(), message.version());
        if let Some(before) = versions.insert(of, message) {
            found.add(
                Kind::Duplicate,
                "a version stored twice",
                json!([before, message]),
            );
        }
        if let Some(before) = last.insert(message.key(), message)
            && Message::version(before) > message.version()
        {
            found.add(
                Kind::Reordered,
                "an earlier version behind a later",
                json!([before, message]),
            );
        }
    }
}

#[cfg(test)]
mod tests;
