//! The stream as each server of the cluster holds it, and as a consumer saw it: both are what the leader holds at the end.

use std::collections::HashMap;

use serde_json::json;

use super::{Findings, Kind};
use crate::history::{Copy, Observed, Seen};

/// Each server holds the same messages.
pub(super) fn replicas(observed: &Observed, found: &mut Findings) {
    let Some((first, others)) = observed.replicas.split_first() else {
        return;
    };
    let by_sequence = |copies: &[Copy]| -> HashMap<u64, Copy> {
        copies
            .iter()
            .map(|copy| (copy.sequence, copy.clone()))
            .collect()
    };
    let of_first = by_sequence(&first.copies);
    for other in others {
        let of_other = by_sequence(&other.copies);
        let all = of_first.keys().chain(of_other.keys());
        let differs = |sequence: &&u64| of_first.get(*sequence) != of_other.get(*sequence);
        if let Some(sequence) = all.filter(differs).min() {
            let shown = json!({
                &first.server: of_first.get(sequence),
                &other.server: of_other.get(sequence),
                "messages": [first.copies.len(), other.copies.len()],
            });
            found.add(
                Kind::Diverged,
                "two servers that hold different messages",
                shown,
            );
        }
    }
}

/// A consumer saw each message once and in its order, and none that is not there.
pub(super) fn seen(observed: &Observed, found: &mut Findings) {
    for pair in observed.seen.windows(2) {
        let place = |seen: &Seen| (seen.stream, seen.sequence);
        if place(&pair[0]) >= place(&pair[1]) {
            let what = "a consumer that saw messages out of their order";
            found.add(Kind::Diverged, what, json!(pair));
        }
    }
    let Some(stream) = observed.seen.last().map(|seen| seen.stream) else {
        return;
    };
    let of_last = observed.seen.iter().filter(|seen| seen.stream == stream);
    let seen: HashMap<u64, &Seen> = of_last.map(|seen| (seen.sequence, seen)).collect();
    let mut held = HashMap::new();
    for message in &observed.messages {
        held.insert(message.sequence, message.message_id());
        let saw = seen.get(&message.sequence);
        if saw.is_none_or(|saw| saw.id.as_deref() != message.message_id()) {
            let shown = json!({ "message": message, "seen": saw });
            found.add(
                Kind::Diverged,
                "a message that a consumer did not see",
                shown,
            );
        }
    }
    let is_lost_on_purpose = |seen: &Seen| {
        let mut events = observed.events.iter();
        let event = events.find(|event| Some(&event.id) == seen.id.as_ref());
        event.is_some_and(|event| observed.lost.has(&event.key, seen.stored_ms, u64::MAX))
    };
    for saw in seen.values() {
        if !held.contains_key(&saw.sequence) && !is_lost_on_purpose(saw) {
            let what = "a message that a consumer saw and the stream does not hold";
            found.add(Kind::Diverged, what, json!(saw));
        }
    }
}
