//! Real time: whoever asks after an answer was given is told no less than it said, and what is saved is published soon.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use serde_json::json;

use super::{Findings, Index, Kind};
use crate::history::{Attempt, Observed, Outcome};

/// Between commit and publication, while an instance can publish.
pub(super) const LATE_MS: u64 = 20_000;

/// Publishing or applying a message that the stream gets again takes no longer, on a machine that has a fault each few seconds.
const AGAIN_MS: u64 = 10;

/// A member learns with the next heartbeat, of two seconds at most, what a majority has.
const BEHIND_MS: u64 = 2_000;

/// Which version of a document somebody knew, and since when.
pub(super) struct Known<'a>(HashMap<&'a str, Vec<(u64, i64)>>);

impl<'a> Known<'a> {
    pub(super) fn new(observed: &'a Observed) -> Self {
        let mut known = HashMap::<_, Vec<_>>::new();
        for attempt in &observed.attempts {
            if let Outcome::Accepted { key, version } = &attempt.outcome {
                let of_key = known.entry(key.as_str()).or_default();
                of_key.push((attempt.ended_ms, *version));
            }
        }
        for read in &observed.reads {
            if let Some(version) = read.version {
                let of_key = known.entry(read.key.as_str()).or_default();
                of_key.push((read.ended_ms, version));
            }
        }
        for of_key in known.values_mut() {
            of_key.sort_unstable();
            let mut highest = -1;
            for (_, version) in of_key.iter_mut() {
                highest = highest.max(*version);
                *version = highest;
            }
        }
        Self(known)
    }

    /// The highest version that somebody had been told before then.
    pub(super) fn before(&self, key: &str, at_ms: u64) -> Option<i64> {
        let of_key = self.0.get(key)?;
        let earlier = of_key.partition_point(|(since, _)| *since < at_ms);
        of_key
            .get(earlier.checked_sub(1)?)
            .map(|(_, version)| *version)
    }
}

/// A write that was begun after an answer was given makes a later version than that answer told.
pub(super) fn writes(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let known = Known::new(observed);
    for attempt in &observed.attempts {
        let (key, version, least) = match (index.own_event(attempt), &attempt.outcome) {
            (Some(event), _) => (event.key.as_str(), event.version, 1),
            (None, Outcome::Accepted { key, version }) => (key.as_str(), *version, 0),
            (None, _) => continue,
        };
        let before = known.before(key, attempt.began_ms);
        if before.is_some_and(|before| version < before + least) {
            let what = "a write that came behind what had been answered before it began";
            let shown = json!({ "attempt": attempt, "version": version, "known": before });
            found.add(Kind::Stale, what, shown);
        }
    }
}

/// What is read is no older than what had been answered before. Around an election, a primary may tell of the past for a moment
/// (docs/guarantees.md).
pub(super) fn reads(observed: &Observed, found: &mut Findings) {
    let known = Known::new(observed);
    // What was known a while before the elections around a read, every member that may lead knows as well.
    let must_know_since = |began: u64, ended: u64| {
        let around = |since: u64| {
            let times = observed.elections.iter();
            let on = times.filter(|(from, until)| *from <= ended && *until >= since);
            on.map(|(from, _)| from.saturating_sub(BEHIND_MS)).min()
        };
        let mut since = began;
        while let Some(from) = around(since).filter(|from| *from < since) {
            since = from;
        }
        since
    };
    for read in &observed.reads {
        let since_ms = must_know_since(read.began_ms, read.ended_ms);
        let before = known.before(&read.key, since_ms);
        let is_behind = before.is_some_and(|before| read.version.is_none_or(|it| it < before));
        if is_behind {
            let what = "a read of less than had been answered before it began";
            found.add(Kind::Stale, what, json!({ "read": read, "known": before }));
        }
    }
}

/// `If-Match` lets a change through on that version only, and refuses it only where another came before.
pub(super) fn preconditions(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut by_event = HashMap::new();
    for attempt in &observed.attempts {
        if let Some(event) = index.own_event(attempt) {
            by_event.insert((event.key.as_str(), event.version), attempt);
        }
    }
    for attempt in observed.attempts.iter().filter(|it| !it.must_be_refused()) {
        let Some(named) = attempt.if_match else {
            continue;
        };
        let key = attempt.path.rsplit('/').next().unwrap_or_default();
        let shown = || json!({ "attempt": attempt, "event": index.event(key, named + 1) });
        let own = index.own_event(attempt).map(|event| event.version);
        if own.is_some_and(|version| version != named + 1) {
            let what = "a change of another version than If-Match names";
            found.add(Kind::WronglyAccepted, what, shown());
        }
        let next = index.event(key, named + 1);
        let may_have_come_before = |next: &&Attempt| next.began_ms <= attempt.ended_ms;
        let of_next = by_event.get(&(key, named + 1));
        let was_overtaken = match of_next {
            Some(next) => may_have_come_before(next),
            // Nobody's write that we know of, such as an order's.
            None => next.is_some(),
        };
        if attempt.outcome == Outcome::Refused && attempt.status == 412 && !was_overtaken {
            let what = "a refusal of the version that If-Match names, which was the last";
            found.add(Kind::WronglyRefused, what, shown());
        }
    }
}

/// Between commit and publication no instance can publish, or not much time goes by.
pub(super) fn publications(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let first = observed.first_stored();
    let mut again = BTreeSet::new();
    let mut by_version = HashMap::<_, Vec<u64>>::new();
    for (id, stored_ms) in observed.stored() {
        if let Some(event) = index.events_by_id.get(id) {
            let of_version = by_version.entry((event.key.as_str(), event.version));
            of_version.or_default().push(stored_ms);
        }
        if first[id] != stored_ms {
            again.insert((stored_ms, id));
        }
    }
    for (id, stored_ms) in first {
        let Some(event) = index.events_by_id.get(id) else {
            continue;
        };
        let saved_ms = index.saved_ms(event);
        // Its first copy may have gone before anybody saw it.
        let is_told_again = observed.lost.has(&event.key, saved_ms, stored_ms);
        if is_told_again || event.is_skipped {
            continue;
        }
        // Where the stream has lost its key's messages, it waits for these to be published again, as it does for those of others.
        let before = by_version.get(&(event.key.as_str(), event.version - 1));
        let before = before.into_iter().flatten().filter(|at| **at <= stored_ms);
        let before = before
            .max()
            .filter(|_| observed.lost.has(&event.key, 0, stored_ms));
        let since_ms = before.map_or(saved_ms, |before| saved_ms.max(*before));
        let meanwhile = (saved_ms, "")..(saved_ms.max(stored_ms), "");
        let waited_for = again.range(meanwhile).count() as u64;
        let limit_ms = LATE_MS + waited_for * AGAIN_MS;
        if uncovered(&observed.unhealthy, since_ms, stored_ms) > limit_ms {
            let shown = json!({ "event": event, "saved_ms": saved_ms, "stored_ms": stored_ms });
            found.add(Kind::Late, "published over 20 s after its commit", shown);
        }
    }
}

/// How long each event's first message waits at a consumer that applies one after the other what the stream gets again, by its id.
pub(super) fn waits(observed: &Observed) -> HashMap<&str, u64> {
    let mut stored: Vec<(u64, &str)> = observed.stored().map(|(id, at)| (at, id)).collect();
    stored.sort_unstable();
    stored.dedup();
    let (mut waits, mut free_ms) = (HashMap::new(), 0);
    for (stored_ms, id) in stored {
        free_ms = stored_ms.max(free_ms);
        match waits.entry(id) {
            Entry::Vacant(first) => drop(first.insert(free_ms - stored_ms)),
            Entry::Occupied(_) => free_ms += AGAIN_MS,
        }
    }
    waits
}

/// How much of the time between `from` and `until` none of `spans` covers.
pub(super) fn uncovered(spans: &[(u64, u64)], from: u64, until: u64) -> u64 {
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    let (mut sum, mut covered) = (0, from);
    for (begin, end) in spans {
        sum += begin.min(until).saturating_sub(covered);
        covered = covered.max(end);
    }
    sum + until.saturating_sub(covered)
}
