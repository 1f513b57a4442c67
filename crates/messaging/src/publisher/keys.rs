//! Which keys a sweep leaves out: those that are in hand, and those that failed and wait. Whose a failure is.

mod failing;
mod run;

use std::collections::{HashMap, HashSet};

use bson::oid::ObjectId;
use tokio::time::Instant;

use super::Trouble;
use failing::{Failing, Why};
use run::Run;

use crate::{Timing, lease::GaveUp, stored::Stored};

/// Keys in flight at once; below the client's own limit of acknowledgements that are waited for.
const MOST_IN_FLIGHT: usize = 512;
/// The limit while no publication succeeds.
const FEWER_IN_FLIGHT: usize = 16;

/// The keys that this instance is busy with.
pub(super) struct Keys {
    timing: Timing,
    in_hand: HashMap<Stored, InHand>,
    failing: Failing,
    run: Run,
    /// Whether it was the stream that failed: then one success ends all delays.
    stream_failed: bool,
    delays_ended: Option<Instant>,
    /// What other holders failed at.
    gave_up: GaveUp,
    /// Numbers the sweeps.
    sweep: u64,
    /// Marked in this sweep, which may have read them before.
    just_marked: HashSet<ObjectId>,
}

/// From the first publication until the marks are written.
struct InHand {
    ids: Vec<ObjectId>,
    /// Whether the key has more events, for which a sweep has to come back.
    has_more: bool,
    sweep: u64,
    /// How many turns and marks of the key are not finished.
    unfinished: usize,
}

/// What a sweep does with a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Begin,
    LeaveOut {
        /// Whether a sweep comes back for the key as soon as it is marked.
        comes_back: bool,
    },
}

impl Keys {
    pub(super) fn new(timing: Timing, gave_up: GaveUp) -> Self {
        Self {
            timing,
            in_hand: HashMap::new(),
            failing: Failing::new(timing),
            run: Run::new(timing),
            stream_failed: false,
            delays_ended: None,
            gave_up,
            sweep: 0,
            just_marked: HashSet::new(),
        }
    }

    pub(super) fn begin_sweep(&mut self) {
        self.sweep += 1;
        self.just_marked.clear();
    }

    /// The sweep has read all there is.
    pub(super) fn end_sweep(&mut self) {
        let is_in_hand = |key: &Stored| self.in_hand.contains_key(key);
        self.failing.forget_what_is_gone(self.sweep, is_in_hand);
        if self.failing.is_empty() && self.in_hand.is_empty() {
            self.gave_up.forget_the_unnamed();
        }
    }

    /// How many keys are in hand.
    pub(super) fn in_hand(&self) -> u32 {
        u32::try_from(self.in_hand.len()).unwrap_or(u32::MAX)
    }

    /// Those that a query should leave out, the ones with the most behind them first.
    pub(super) fn to_leave_out(&self) -> impl Iterator<Item = &Stored> {
        let in_hand = self.in_hand.iter().filter(|(_, it)| it.has_more);
        let waiting = self.failing.waiting().map(|(_, key)| key);
        in_hand.map(|(key, _)| key).chain(waiting)
    }

    /// What a sweep does with a key that it has read with these events, and perhaps with more.
    pub(super) fn look_at(&mut self, key: &Stored, ids: &[ObjectId], has_more: bool) -> Look {
        if let Some(in_hand) = self.in_hand.get_mut(key) {
            in_hand.has_more |= has_more || ids.iter().any(|id| !in_hand.ids.contains(id));
            return Look::LeaveOut {
                comes_back: in_hand.has_more,
            };
        }
        if self.failing.waits(key) {
            return Look::LeaveOut { comes_back: false };
        }
        Look::Begin
    }

    /// Whether a sweep has read an event before this instance marked it.
    pub(super) fn is_just_marked(&self, id: &ObjectId) -> bool {
        self.just_marked.contains(id)
    }

    /// Whether a key may be begun beside those in flight.
    pub(super) fn has_room_beside(&self, in_flight: usize) -> bool {
        let most = if self.stream_fails() || self.failing.is_full() {
            FEWER_IN_FLIGHT
        } else {
            MOST_IN_FLIGHT
        };
        in_flight < most
    }

    /// A key's turn begins.
    pub(super) fn begin(&mut self, key: Stored, ids: Vec<ObjectId>, has_more: bool) {
        let in_hand = InHand {
            ids,
            has_more,
            sweep: self.sweep,
            unfinished: 1,
        };
        self.in_hand.insert(key, in_hand);
    }

    /// Beside its turn, the key has a mark that is to be finished; whether a sweep waits for it.
    pub(super) fn begin_mark(&mut self, key: &Stored) -> bool {
        self.in_hand.get_mut(key).is_some_and(|it| {
            it.unfinished += 1;
            it.has_more
        })
    }

    /// A turn or a mark of the key is finished; whether a sweep has to come back for the key.
    pub(super) fn finish(&mut self, key: &Stored) -> bool {
        let Some(in_hand) = self.in_hand.get_mut(key) else {
            return false;
        };
        in_hand.unfinished -= 1;
        let (is_free, has_more) = (in_hand.unfinished == 0, in_hand.has_more);
        if is_free {
            self.in_hand.remove(key);
        }
        is_free && has_more
    }

    /// A mark of these events is finished; whether a sweep has to come back for the key.
    pub(super) fn finish_mark(&mut self, key: &Stored, marked: &[ObjectId]) -> bool {
        let began = self.in_hand.get(key).map(|it| it.sweep);
        if began.is_some_and(|began| began < self.sweep) {
            self.just_marked.extend(marked);
        }
        if self.is_refused(key) {
            self.forget(key);
        }
        self.finish(key)
    }

    /// A publication of the key succeeded; whether all delays end.
    pub(super) fn succeeded(&mut self, key: &Stored, now: Instant) -> bool {
        self.gave_up.forget(key);
        self.run.end();
        if self.failing.is_empty() || self.is_refused(key) || !self.failing.remove(key) {
            return false;
        }
        let ends = self.stream_failed;
        if ends {
            self.end_delays(now);
        }
        ends
    }

    pub(super) fn end_delays(&mut self, now: Instant) {
        self.delays_ended = Some(now);
        self.run.end();
        self.stream_failed = false;
        self.failing.end_delays(self.sweep);
    }

    /// A publication of the key that was begun at `began` failed, and the key waits. Where all delays have ended since, it says nothing of
    /// how things are now: the key is to be tried again at once, which is returned.
    pub(super) fn failed(&mut self, key: Stored, began: Instant, now: Instant) -> bool {
        self.run.add(&key, now);
        self.stream_failed |= self.stream_fails();
        let says_nothing = self.delays_ended.is_some_and(|ended| ended > began);
        if !says_nothing {
            self.failing.wait(key, Why::Failed, now);
        }
        says_nothing
    }

    /// The database refused the key's mark, or its parking: it waits, through no failure of the stream.
    pub(super) fn refused(&mut self, key: Stored, now: Instant) {
        self.failing.wait(key, Why::Refused, now);
    }

    /// The stream is still storing a message of the key: it is tried again soon, through nobody's failure.
    pub(super) fn on_its_way(&mut self, key: Stored, now: Instant) {
        self.failing.wait(key, Why::OnItsWay, now);
    }

    /// The stream says that it is full or busy.
    pub(super) fn stream_says_so(&mut self) {
        self.run.stream_says_so = true;
    }

    /// The key is no failing one any more.
    pub(super) fn forget(&mut self, key: &Stored) {
        self.failing.remove(key);
        self.run.forget(key);
    }

    pub(super) fn is_refused(&self, key: &Stored) -> bool {
        self.failing.is_refused(key)
    }

    /// Lets those be tried again whose time has come: while the stream fails, one at a time. Whether there are any.
    pub(super) fn try_again(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.next_try().is_some_and(|at| at <= now) {
            self.failing.try_first(self.sweep);
            any = true;
            if self.stream_fails() {
                self.run.probe_next(now);
            }
        }
        any
    }

    /// When [`Keys::try_again`] has something to do.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let (first, _) = self.failing.waiting().next()?;
        let probe = self.run.probe_at().filter(|_| self.stream_fails());
        Some(probe.unwrap_or(*first))
    }

    /// Whether it is the stream that fails, rather than keys.
    pub(super) fn stream_fails(&self) -> bool {
        self.run.is_the_streams(|_| true)
    }

    /// Where keys have failed for long, of which another instance may publish some.
    pub(super) fn trouble(&self, now: Instant) -> Option<Trouble> {
        let is_new = |key: &Stored| !self.gave_up.contains(key);
        let fails_for = |since: Instant, limit| now.duration_since(since) >= limit;
        let since = self.run.since().filter(|_| self.run.is_the_streams(is_new));
        if let Some(since) = since.filter(|since| fails_for(*since, self.timing.failing_limit)) {
            return Some(Trouble {
                since,
                why: "several keys fail and none succeeds",
            });
        }
        let since = self.failing.since(is_new)?;
        let why = "a key fails";
        fails_for(since, self.timing.failing_key_limit).then_some(Trouble { since, why })
    }

    /// What the holders before failed at, and where this one leaves it to another, what it fails at itself.
    pub(super) fn gave_up(&self, with_own: bool) -> GaveUp {
        let mut gave_up = self.gave_up.clone();
        if with_own {
            gave_up.add(self.failing.keys().cloned());
        }
        gave_up
    }
}

#[cfg(test)]
mod tests;
