//! What was published: once, in order, unaltered, and marked only then.

use std::collections::HashMap;

use serde_json::json;

use super::{Findings, Index, Kind, headers};
use crate::history::{Event, Message, Observed};

/// `sent` says what the stream holds.
pub(super) fn marks(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
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
        // Of some that are given up nobody can be told.
        if event.is_sent && !is_stored && !event.is_skipped {
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

/// Each message is its event's, the only one, and behind its predecessor.
pub(super) fn messages(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut ids = HashMap::new();
    let mut versions = HashMap::new();
    let mut last = HashMap::new();
    for message in &observed.messages {
        let Some(event) = message.identity().and_then(|id| index.events_by_id.get(id)) else {
            found.add(Kind::Phantom, "a message of no event", json!(message));
            continue;
        };
        if !says(message, event) {
            let shown = json!({ "event": event, "message": message });
            found.add(
                Kind::Altered,
                "a message that differs from its event",
                shown,
            );
        }
        headers::headers(event, message, found);
        let saved_ms = index.saved_ms(event);
        let was_lost = |stored_ms| observed.lost.has(&event.key, saved_ms, stored_ms);
        if message.is_replayed() && !was_lost(message.stored_ms) {
            let what = "YES, and published again, although it was not lost on purpose";
            let shown = json!({ "event": event, "message": message });
            found.add(Kind::Premature, what, shown);
        }
        if let Some(id) = message.message_id()
            && let Some(before) = ids.insert(id, message)
        {
            found.add(
                Kind::Duplicate,
                "a message id stored twice",
                json!([before, message]),
            );
        }
        let of = (event.key.as_str(), event.version);
        if let Some(before) = versions.insert(of, message) {
            found.add(
                Kind::Duplicate,
                "a version stored twice",
                json!([before, message]),
            );
        }
        if let Some((version, before)) = last.insert(&event.key, (event.version, message))
            && version > event.version
            && !message.is_replayed()
        {
            found.add(
                Kind::Reordered,
                "an earlier version behind a later",
                json!([before, message]),
            );
        }
    }
}

/// Subject and payload.
fn says(message: &Message, event: &Event) -> bool {
    if event.is_skipped {
        let subject = format!("{}.{}", event.type_of_skipped(), event.key);
        return message.subject == subject && message.payload.is_null();
    }
    message.subject == event.subject && message.payload == event.data
}

/// Only what was planted can never be published.
pub(super) fn parked(observed: &Observed, found: &mut Findings) {
    for event in observed.events.iter().filter(|event| event.is_parked) {
        if !observed.planted.contains(&event.id) {
            let what = "parked, although nothing is wrong with it";
            found.add(Kind::WronglyParked, what, json!(event));
        }
    }
}
