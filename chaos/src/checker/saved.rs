//! What was saved: each version of a ticket with its event, both or neither, and each write once.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::{Findings, Index, Kind};
use crate::history::Observed;

/// Each version of a ticket has its event, and the last event says what the ticket says.
pub(super) fn tickets(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
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
}

/// Each event has its ticket, its own version and its own write.
pub(super) fn events(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
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
