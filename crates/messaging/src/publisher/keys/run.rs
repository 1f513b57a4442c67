//! The failures since a publication succeeded: of a few keys, or the stream's.

use std::collections::HashSet;

use tokio::time::Instant;

use crate::{Timing, pauses::Pauses, stored::Stored};

/// When this many different keys fail and none succeeds, the stream is at fault.
const STREAM_FAILS_AT: usize = 3;
/// More say nothing new.
const MOST_KEYS: usize = 1_000;

pub(super) struct Run {
    keys: HashSet<Stored>,
    since: Option<Instant>,
    /// The stream says that it is full or busy.
    pub(super) stream_says_so: bool,
    /// The pauses between two keys that are tried again while the stream is at fault.
    pauses: Pauses,
    probe_at: Option<Instant>,
}

impl Run {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            keys: HashSet::new(),
            since: None,
            stream_says_so: false,
            pauses: Pauses::new(timing.first_retry, timing.longest_probe),
            probe_at: None,
        }
    }

    pub(super) fn add(&mut self, key: &Stored, now: Instant) {
        self.since.get_or_insert(now);
        if self.keys.len() < MOST_KEYS {
            self.keys.insert(key.clone());
        }
    }

    pub(super) fn forget(&mut self, key: &Stored) {
        self.keys.remove(key);
    }

    /// A publication succeeded.
    pub(super) fn end(&mut self) {
        if self.since.take().is_some() {
            self.keys.clear();
            self.stream_says_so = false;
            self.pauses.start_again();
            self.probe_at = None;
        }
    }

    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether it is the stream's failure, if only the keys count that `count`.
    pub(super) fn is_the_streams(&self, count: impl Fn(&Stored) -> bool) -> bool {
        let counted = self.keys.iter().filter(|key| count(key));
        self.stream_says_so || counted.take(STREAM_FAILS_AT).count() >= STREAM_FAILS_AT
    }

    /// When one of the keys is to be tried again.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// One of them is tried now.
    pub(super) fn probe_next(&mut self, now: Instant) {
        self.probe_at = Some(now + self.pauses.next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_thousand_keys_are_remembered() {
        let mut run = Run::new(Timing::default());
        for number in 0..1_100 {
            run.add(&Stored::from(&*number.to_string()), Instant::now());
        }
        assert_eq!(run.keys.len(), 1_000);
    }

    #[test]
    fn a_key_that_is_parked_is_no_failure_of_the_streams_any_more() {
        let mut run = Run::new(Timing::default());
        for name in ["a", "b"] {
            run.add(&Stored::from(name), Instant::now());
        }
        run.forget(&Stored::from("a"));
        run.add(&Stored::from("c"), Instant::now());
        assert!(!run.is_the_streams(|_| true));
        run.add(&Stored::from("d"), Instant::now());
        assert!(run.is_the_streams(|_| true));
    }
}
