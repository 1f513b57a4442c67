//! The keys that failed: those that wait, and those that are tried again.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::{Timing, pauses::Pauses, stored::Stored};

/// More are not remembered: each sweep tries them again.
const MOST: usize = 10_000;

pub(super) struct Failing {
    timing: Timing,
    keys: HashMap<Stored, State>,
    /// Those that wait, by the end of their delays.
    waiting: BTreeSet<(Instant, Stored)>,
}

/// Why a key waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It could not be published.
    Failed,
    /// The database refused its mark, or its parking.
    Refused,
    /// The stream is still storing a message of it, which is no failure.
    OnItsWay,
}

struct State {
    /// When it first failed; `None` where it never did.
    since: Option<Instant>,
    pauses: Pauses,
    pauses_on_its_way: Pauses,
    /// `None` while it is tried.
    waits_until: Option<Instant>,
    /// The sweep in which it began to be tried again.
    tried_in: u64,
    /// Whether the database refused its mark, or its parking: that it is published means nothing then, and another instance would
    /// fare alike.
    is_refused: bool,
}

impl Failing {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            keys: HashMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.keys.len() >= MOST
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Stored> {
        self.keys.keys()
    }

    /// Those that wait, the first to be tried again first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &(Instant, Stored)> {
        self.waiting.iter()
    }

    pub(super) fn waits(&self, key: &Stored) -> bool {
        let state = self.keys.get(key);
        state.is_some_and(|it| it.waits_until.is_some())
    }

    pub(super) fn is_refused(&self, key: &Stored) -> bool {
        self.keys.get(key).is_some_and(|it| it.is_refused)
    }

    /// The key waits from now on, for longer than the time before.
    pub(super) fn wait(&mut self, key: Stored, why: Why, now: Instant) {
        if self.is_full() && !self.keys.contains_key(&key) {
            return;
        }
        let state = self.keys.entry(key.clone()).or_insert_with(|| State {
            since: None,
            pauses: Pauses::new(self.timing.first_retry, self.timing.longest_key_retry),
            pauses_on_its_way: Pauses::new(self.timing.first_retry, self.timing.longest_retry),
            waits_until: None,
            tried_in: 0,
            is_refused: false,
        });
        state.is_refused |= why == Why::Refused;
        let pause = if why == Why::OnItsWay {
            state.pauses_on_its_way.next()
        } else {
            state.since.get_or_insert(now);
            state.pauses.next()
        };
        let until = now + pause;
        if let Some(before) = state.waits_until.replace(until) {
            self.waiting.remove(&(before, key.clone()));
        }
        self.waiting.insert((until, key));
    }

    /// The key fails no more; whether it did.
    pub(super) fn remove(&mut self, key: &Stored) -> bool {
        let Some(state) = self.keys.remove(key) else {
            return false;
        };
        if let Some(until) = state.waits_until {
            self.waiting.remove(&(until, key.clone()));
        }
        true
    }

    /// The one whose delay ends first is tried again.
    pub(super) fn try_first(&mut self, sweep: u64) {
        if let Some((_, key)) = self.waiting.pop_first()
            && let Some(state) = self.keys.get_mut(&key)
        {
            state.try_in(sweep);
        }
    }

    /// All of them are.
    pub(super) fn end_delays(&mut self, sweep: u64) {
        self.waiting.clear();
        self.keys.values_mut().for_each(|it| it.try_in(sweep));
    }

    /// A sweep has read all there is: what was to be tried in it and `is_in_hand` not has nothing unsent any more.
    pub(super) fn forget_what_is_gone(&mut self, sweep: u64, is_in_hand: impl Fn(&Stored) -> bool) {
        self.keys
            .retain(|key, it| it.waits_until.is_some() || it.tried_in >= sweep || is_in_hand(key));
    }

    /// Since when the first key has failed that another instance may succeed with. Only keys count for which `count` says so.
    pub(super) fn since(&self, count: impl Fn(&Stored) -> bool) -> Option<Instant> {
        let counted = self.keys.iter();
        let counted = counted.filter(|(key, it)| !it.is_refused && count(key));
        counted.filter_map(|(_, it)| it.since).min()
    }
}

impl State {
    fn try_in(&mut self, sweep: u64) {
        self.waits_until = None;
        self.tried_in = sweep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_database_refused_once_stays_refused_however_else_it_fails() {
        let (key, now) = (Stored::from("a"), Instant::now());
        for reasons in [[Why::Failed, Why::Refused], [Why::Refused, Why::Failed]] {
            let mut failing = Failing::new(Timing::default());
            for why in reasons {
                failing.wait(key.clone(), why, now);
            }
            assert!(failing.is_refused(&key));
        }
    }
}
