//! What clients were told: each answer is the one that it had to be, what was accepted is there, and of what was refused
//! nothing is.

use std::collections::HashMap;

use serde_json::json;

use super::{Findings, Index, Kind};
use crate::history::{Event, Observed, Outcome};

/// Each clear answer against the one that it had to be.
pub(super) fn answers(observed: &Observed, found: &mut Findings) {
    for attempt in &observed.attempts {
        let (kind, what) = match attempt.outcome {
            Outcome::Unknown | Outcome::NotSent => continue,
            _ if attempt.is_answered_rightly() => continue,
            Outcome::Accepted { .. } if attempt.must_be_refused() => (
                Kind::WronglyAccepted,
                "an acceptance of what had to be refused",
            ),
            Outcome::Refused if !attempt.must_be_refused() => {
                (Kind::WronglyRefused, "a refusal of what had to be accepted")
            }
            _ => (
                Kind::WrongStatus,
                "an answer of another status than it had to have",
            ),
        };
        found.add(kind, what, json!(attempt));
    }
}

/// Each accepted write has its document, its event and its message.
pub(super) fn accepted(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    for attempt in &observed.attempts {
        let Outcome::Accepted { key, version } = &attempt.outcome else {
            continue;
        };
        let saved = index.documents.get(key.as_str());
        if saved.is_none_or(|saved| saved.version < *version) {
            let shown = json!({ "attempt": attempt, "document": saved });
            found.add(Kind::Lost, "an accepted write without its document", shown);
        }
        let event = index.event(key, *version);
        let shown = json!({ "attempt": attempt, "event": event });
        let is_own = |event: &Event| event.trace() == Some(attempt.trace.as_str());
        let is_told = |event| is_own(event) || index.may_have_changed_nothing(attempt, event);
        if !event.is_some_and(is_told) {
            found.add(Kind::Lost, "an accepted write without its event", shown);
        } else if event
            .is_some_and(|event| !index.stored.contains(event.id.as_str()) && !event.is_skipped)
        {
            found.add(Kind::Lost, "an accepted write without its message", shown);
        }
    }
}

/// Nothing is left of what was refused or never sent, nor of what had to be refused, whatever its answer.
pub(super) fn without_trace(observed: &Observed, found: &mut Findings) {
    let mut without_trace = HashMap::new();
    for attempt in &observed.attempts {
        let kind = match attempt.outcome {
            Outcome::Refused | Outcome::NotSent => Kind::Phantom,
            Outcome::Unknown if attempt.must_be_refused() => Kind::WronglyAccepted,
            Outcome::Unknown | Outcome::Accepted { .. } => continue,
        };
        without_trace.insert(attempt.trace.as_str(), (kind, attempt));
    }
    let of = |trace: Option<&str>| without_trace.get(trace?);
    for event in &observed.events {
        if let Some((kind, attempt)) = of(event.trace()) {
            let shown = json!({ "attempt": attempt, "event": event });
            found.add(*kind, "an event of a write that must leave none", shown);
        }
    }
    for message in &observed.messages {
        if let Some((kind, attempt)) = of(message.trace()) {
            let shown = json!({ "attempt": attempt, "message": message });
            found.add(*kind, "a message of a write that must leave none", shown);
        }
    }
}
