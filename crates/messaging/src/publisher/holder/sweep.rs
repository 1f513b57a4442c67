//! A sweep: reads what is unsent, and begins the turns of all keys that nothing holds back.

use std::{future::pending, time::Duration};

use db::cause;
use metrics::histogram;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::Holder;
use crate::{
    Outbox,
    metrics::SWEEP_SIZE,
    outbox::{LeftOut, Parked},
    publisher::{
        backlog::{Turn, walk},
        keys::Look,
        turn::{Ended, publish},
    },
    stored::Stored,
};

/// Turns that are read before there is room for them.
const TURNS_AHEAD: usize = 128;
/// Each key in hand lengthens the pause between two sweeps by this much.
const PAUSE_FOR_EACH: Duration = Duration::from_micros(500);
/// Keys that a query names; the others are read in vain.
const MOST_LEFT_OUT: usize = 1_000;

type Reading<T> = JoinHandle<mongodb::error::Result<T>>;

/// The sweep that is under way. What it waits for are tasks, so that no future of the driver is dropped.
pub(super) enum Sweep {
    /// First it is read what is parked, where that may have changed.
    Parked(Reading<Parked>),
    Backlog {
        turns: mpsc::Receiver<Turn>,
        walk: Reading<()>,
        /// Events.
        size: usize,
    },
}

/// What a sweep comes to next.
pub(super) enum Step {
    Parked(Parked),
    Turn(Turn),
    End,
    Failed(anyhow::Error),
}

impl Sweep {
    pub(super) async fn next(sweep: &mut Option<Self>) -> Step {
        match sweep {
            None => pending().await,
            Some(Self::Parked(reading)) => {
                let parked = read(reading.await).map(Step::Parked);
                parked.unwrap_or_else(Step::Failed)
            }
            Some(Self::Backlog { turns, walk, .. }) => match turns.recv().await {
                Some(turn) => Step::Turn(turn),
                None => read(walk.await).map_or_else(Step::Failed, |()| Step::End),
            },
        }
    }
}

fn read<T>(task: Result<mongodb::error::Result<T>, JoinError>) -> anyhow::Result<T> {
    task?.map_err(|error| anyhow::Error::msg(cause(&error)))
}

impl<'a> Holder<'a> {
    /// Whether what the sweep reads can be taken.
    pub(super) fn may_read(&self) -> bool {
        match &self.sweep {
            None => false,
            Some(Sweep::Backlog { .. }) => {
                self.keys.has_room_beside(self.in_flight) && !self.marks.are_too_many()
            }
            Some(_) => true,
        }
    }

    /// When the next sweep may begin.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        let timing = self.publisher.timing;
        let is_free = self.sweep.is_none() && self.reconnects.is_none() && self.prepares.is_none();
        let may = is_free && !self.is_ending() && !self.broker.is_away();
        let pause = if self.is_wanted {
            // A sweep reads the events of keys in hand again, in vain: the more there are, the longer it waits.
            let longer = timing.sweep_pause + PAUSE_FOR_EACH * self.keys.in_hand();
            longer.min(timing.longest_sweep_pause)
        } else {
            timing.safety_interval
        };
        (may && !self.marks.are_too_many()).then(|| self.not_before.max(self.swept_at + pause))
    }

    pub(super) fn begin_or_give_up_sweep(&mut self, now: Instant) {
        if self.next_sweep().is_some_and(|at| at <= now) {
            return self.begin_sweep(now);
        }
        let stalled = self.publisher.timing.sweep_stalled_after;
        if now.duration_since(self.read_at) >= stalled {
            self.sweep_failed(&anyhow::anyhow!("nothing was read for {stalled:?}"));
        }
    }

    fn begin_sweep(&mut self, now: Instant) {
        self.is_wanted = false;
        (self.swept_at, self.read_at) = (now, now);
        let timing = self.publisher.timing;
        let is_old = now.duration_since(self.parked_read_at) >= timing.safety_interval;
        if !self.bell.take_doubt() && !is_old {
            return self.read_backlog();
        }
        self.parked_read_at = now;
        self.parked_meanwhile.clear();
        let outbox = self.publisher.outbox.clone();
        let limit = timing.sweep_stalled_after;
        let reading = async move { outbox.bounded(limit, Outbox::read_parked).await };
        self.sweep = Some(Sweep::Parked(tokio::spawn(reading)));
    }

    fn read_backlog(&mut self) {
        self.keys.begin_sweep();
        let (sender, turns) = mpsc::channel(TURNS_AHEAD);
        let can_be_named = |values: &mut dyn Iterator<Item = &Stored>| {
            let named = values.filter(|value| value.stands_for_itself());
            named.take(MOST_LEFT_OUT).cloned().collect()
        };
        let keys = self.keys.to_leave_out();
        let left_out = LeftOut {
            keys: can_be_named(&mut keys.chain(&self.parked.keys)),
            ids: can_be_named(&mut self.parked.of_other_keys.iter()),
        };
        let (outbox, skips) = (self.publisher.outbox.clone(), self.parked.skips.clone());
        let to = (sender, self.room.clone());
        let walk = tokio::spawn(walk(outbox, left_out, skips, to));
        self.sweep = Some(Sweep::Backlog {
            turns,
            walk,
            size: 0,
        });
    }

    /// A turn that begins, where that is what was read.
    pub(super) fn has_read(&mut self, step: Step) -> Option<Turn> {
        self.read_at = Instant::now();
        match step {
            Step::Turn(turn) => return self.take_up(turn),
            Step::Parked(parked) => self.know_parked(parked),
            Step::End => {
                self.keys.end_sweep();
                self.end_sweep();
                self.pauses.start_again();
                self.told.is_over();
            }
            Step::Failed(error) => self.sweep_failed(&error),
        }
        None
    }

    fn know_parked(&mut self, parked: Parked) {
        let is_retried = !parked.retried.is_subset(&self.parked.retried);
        self.parked = parked;
        for (key, id) in self.parked_meanwhile.drain(..) {
            self.parked.add(key, id);
        }
        if is_retried {
            let jetstream = self.publisher.jetstream.clone();
            let reconnecting = async move { jetstream.reconnect().await };
            self.reconnects = Some(tokio::spawn(reconnecting));
            self.sweep = None;
            self.is_wanted = true;
        } else {
            self.read_backlog();
        }
    }

    fn end_sweep(&mut self) {
        if let Some(Sweep::Backlog { size, .. }) = self.sweep.take() {
            tracing::debug!(events = size, "swept");
            if size > 0 {
                histogram!(SWEEP_SIZE).record(size as f64);
            }
        }
    }

    fn sweep_failed(&mut self, error: &anyhow::Error) {
        self.told
            .tell("cannot read the events", format!("{error:#}"));
        self.bell.doubt_parked();
        self.sweep = None;
        self.is_wanted = true;
        self.read_at = Instant::now();
        self.not_before = self.read_at + self.pauses.next();
        let publisher = self.publisher.clone();
        let preparing = async move { publisher.prepare_again().await };
        self.prepares = Some(tokio::spawn(preparing));
    }

    /// A key's turn, unless something holds the key back.
    fn take_up(&mut self, mut turn: Turn) -> Option<Turn> {
        // A query can't name all of them.
        if self.parked.keys.contains(&turn.key) {
            return None;
        }
        turn.events
            .retain(|event| !self.keys.is_just_marked(&event.id));
        let ids: Vec<_> = turn.events.iter().map(|event| event.id).collect();
        let has_more = turn.has_more || turn.unreadable.is_some();
        if let Look::LeaveOut { comes_back } = self.keys.look_at(&turn.key, &ids, has_more) {
            if comes_back {
                self.marks.hurry();
            }
            return None;
        }
        if ids.is_empty() && turn.unreadable.is_none() {
            self.is_wanted |= turn.has_more;
            return None;
        }
        if let Some(Sweep::Backlog { size, .. }) = &mut self.sweep {
            *size += ids.len();
        }
        self.keys.begin(turn.key.clone(), ids, turn.has_more);
        self.in_flight += 1;
        Some(turn)
    }

    pub(super) fn publishing(&self, turn: Turn) -> impl Future<Output = Ended> + use<'a> {
        publish(self.publisher, self.lease, self.cut.clone(), turn)
    }

    /// Nothing can be published for now; what was read is read again.
    pub(super) fn drop_sweep(&mut self) {
        if let Some(Sweep::Parked(_)) = &self.sweep {
            self.bell.doubt_parked();
        }
        self.end_sweep();
        self.is_wanted = true;
    }
}

#[cfg(test)]
mod tests;
