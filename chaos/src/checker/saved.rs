//! What was saved: each version of a document with its event, both or neither, and each write once, as it was sent.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::{Findings, Index, Kind, agree};
use crate::history::{Event, Observed};

/// Each version of a document has its event, and the last event says what the document says.
pub(super) fn documents(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    for document in &observed.documents {
        for version in 0..=document.version {
            if index.event(&document.key, version).is_none() {
                let shown = json!({ "document": document, "version": version });
                found.add(Kind::Half, "a document's version without an event", shown);
            }
        }
        let first = index.event(&document.key, 0);
        let last = index.event(&document.key, document.version);
        let is_same = last.is_none_or(|last| last.data == document.says)
            && last.is_none_or(|last| last.made_ms == document.changed_ms)
            && first.is_none_or(|first| first.made_ms == document.made_ms)
            && document.strange.is_empty();
        if !is_same {
            let shown = json!({ "document": document, "first": first, "event": last });
            found.add(
                Kind::Altered,
                "a document that differs from its events",
                shown,
            );
        }
    }
}

/// Each event has its document, its own version and its own write, and says what that write said.
pub(super) fn events(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut of_trace = HashMap::new();
    let orders = observed.orders.events.iter();
    let of_orders: HashSet<&str> = orders.map(|order| order.trace.as_str()).collect();
    for event in &observed.events {
        let Some(attempt) = index.attempt(event) else {
            let is_of_an_order = event.trace().is_some_and(|it| of_orders.contains(it));
            if !observed.planted.contains(&event.id) && !is_of_an_order {
                found.add(Kind::Phantom, "an event of nobody's write", json!(event));
            }
            continue;
        };
        if let Some(before) = of_trace.insert(&attempt.trace, event) {
            let shown = json!([before, event]);
            found.add(Kind::Repeated, "a write that was done twice", shown);
        }
        let is_traced = event.tracestate == Some(attempt.tracestate());
        if !agree(&event.data, &attempt.says) || !is_traced {
            let shown = json!({ "attempt": attempt, "event": event });
            found.add(Kind::Altered, "an event that differs from its write", shown);
        }
    }
    for (&(key, version), events) in &index.events {
        if events.len() > 1 {
            found.add(Kind::Duplicate, "two events of one version", json!(events));
        }
        let is_planted = |event: &&Event| observed.planted.contains(&event.id);
        if events.iter().all(is_planted) {
            continue;
        }
        let document = index.documents.get(key);
        if document.is_none_or(|document| document.version < version) {
            let shown = json!({ "document": document, "events": events });
            found.add(
                Kind::Half,
                "an event without a document of its version",
                shown,
            );
        }
    }
}
