//! What an instance does while it has the lease: one loop, in which a sweep over the backlog, the publications of many keys and the marks
//! of what was acknowledged go on side by side. Nothing in it waits for the slowest.

mod outcomes;
mod sweep;

use std::{future::pending, pin::pin, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Publisher, Trouble, backlog,
    broker::Broker,
    keys::Keys,
    marks::{Acked, Marks},
    watcher::Bell,
};
use crate::{
    lease::{GaveUp, Lease},
    outbox::Parked,
    pauses::Pauses,
    stored::Stored,
    told::{Told, ToldOfKeys},
};
use sweep::Sweep;

/// A write to the database has ended.
enum Written {
    Marks(Vec<Acked>, mongodb::error::Result<()>),
    /// The key, and the event's id.
    Parked((Stored, Stored), mongodb::error::Result<()>),
}

/// How the loop goes on.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// It publishes while it has the lease.
    Holding,
    /// It stops: what the last requests saved is published until then; the rest of a long backlog is for another instance.
    Last(Instant),
    /// It takes up nothing more, and waits until then for what is in flight.
    Ending(Instant),
}

pub(super) struct Holder<'a> {
    publisher: &'a Arc<Publisher>,
    lease: &'a Lease,
    bell: &'a Bell,
    stage: Stage,
    for_another: bool,
    keys: Keys,
    broker: Broker,
    /// Keys whose failure is the broker's or their own: the stream is asked. When their publication was begun.
    undecided: Vec<(Stored, anyhow::Error, Instant)>,
    marks: Marks,
    parked: Parked,
    parked_read_at: Instant,
    /// What this instance has parked since the reading of `parked` began.
    parked_meanwhile: Vec<(Stored, Stored)>,
    sweep: Option<Sweep>,
    is_wanted: bool,
    swept_at: Instant,
    /// When the sweep last read something, or had no room to. A sweep that reads nothing for too long has stalled.
    read_at: Instant,
    /// No sweep begins before then.
    not_before: Instant,
    pauses: Pauses,
    told: Told,
    told_of_marks: Told,
    told_of_keys: ToldOfKeys,
    /// Cancelled when the connection is lost.
    cut: CancellationToken,
    /// An operator gave something another try: what the client knows of the server may be old.
    reconnects: Option<JoinHandle<()>>,
    /// A sweep failed, perhaps because a collection is gone.
    prepares: Option<JoinHandle<()>>,
    room: Arc<Semaphore>,
    /// Turns whose publications are in flight.
    in_flight: usize,
    writes: FuturesUnordered<BoxFuture<'static, Written>>,
}

/// Returns when the task has ended, where there is one.
async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => pending().await,
    }
}

impl<'a> Holder<'a> {
    pub(super) fn new(
        publisher: &'a Arc<Publisher>,
        lease: &'a Lease,
        bell: &'a Bell,
        gave_up: GaveUp,
    ) -> Self {
        let (now, timing) = (Instant::now(), publisher.timing);
        Self {
            publisher,
            lease,
            bell,
            stage: Stage::Holding,
            for_another: false,
            keys: Keys::new(timing, gave_up),
            broker: Broker::new(publisher),
            undecided: Vec::new(),
            marks: Marks::new(timing),
            parked: Parked::default(),
            parked_read_at: now,
            parked_meanwhile: Vec::new(),
            sweep: None,
            is_wanted: true,
            // The first begins at once.
            swept_at: now - timing.sweep_pause,
            read_at: now,
            not_before: now,
            pauses: Pauses::new(timing.first_retry, timing.longest_retry),
            told: Told::default(),
            told_of_marks: Told::default(),
            told_of_keys: ToldOfKeys::default(),
            cut: CancellationToken::new(),
            reconnects: None,
            prepares: None,
            room: backlog::room(),
            in_flight: 0,
            writes: FuturesUnordered::new(),
        }
    }

    /// Whether it gave the lease up to another that waits.
    pub(super) fn leaves_it_to_another(&self) -> bool {
        self.for_another
    }

    pub(super) fn gave_up(&self) -> GaveUp {
        self.keys.gave_up(self.for_another)
    }

    /// Publishes until `served`, or the lease is lost, or another instance should have it.
    pub(super) async fn publish(&mut self, served: &CancellationToken) {
        let mut connection = self.publisher.jetstream.connection();
        let mut renewals = self.lease.renewals();
        let mut turns = FuturesUnordered::new();
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let now = Instant::now();
            if served.is_cancelled() && self.stage == Stage::Holding {
                self.stop();
            }
            self.do_what_is_due(now);
            if matches!(self.stage, Stage::Ending(until) if now >= until) {
                turns.clear();
                self.in_flight = 0;
            }
            if self.is_done(now) {
                return;
            }
            let (due, reads) = (self.next_due(now), self.may_read());
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            tokio::select! {
                // Writes before what there is always more of; that before what is rare.
                biased;
                Some(written) = self.writes.next() => self.written(written),
                Some(ended) = turns.next() => {
                    self.turn_ended(ended);
                    while let Some(Some(ended)) = turns.next().now_or_never() {
                        self.turn_ended(ended);
                    }
                }
                step = Sweep::next(&mut self.sweep), if reads => {
                    if let Some(turn) = self.has_read(step) {
                        turns.push(self.publishing(turn));
                    }
                }
                answer = self.broker.answer() => self.answered(answer),
                Ok(()) = connection.changed() => self.connection_changed(*connection.borrow()),
                () = ended(&mut self.reconnects) => self.reconnects = None,
                () = ended(&mut self.prepares) => self.prepares = None,
                () = self.bell.rung() => self.is_wanted = true,
                () = &mut timer => {}
                // Who waits for the lease is known anew.
                Ok(()) = renewals.changed(), if self.stage == Stage::Holding => {
                    self.leave_it_to_another(Instant::now());
                }
                () = served.cancelled(), if self.stage == Stage::Holding => {}
                () = self.lease.lost(), if !self.is_ending() => {}
            }
            if !reads {
                // Nobody waited for something to read.
                self.read_at = Instant::now();
            }
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if !self.lease.is_valid(now) && !self.is_ending() {
            tracing::warn!("the publisher's lease has run out");
            self.end();
        }
        match self.stage {
            Stage::Holding => {
                self.broker.ask_again(now);
                self.is_wanted |= self.keys.try_again(now);
            }
            // Without the broker there is nothing to do either.
            Stage::Last(until)
                if now >= until || self.broker.is_away() || self.has_nothing_to_do() =>
            {
                self.end();
            }
            Stage::Last(_) | Stage::Ending(_) => {}
        }
        while let Some(batch) = self.marks.next(now, self.more_comes()) {
            self.write_marks(batch);
        }
        self.begin_or_give_up_sweep(now);
    }

    fn next_due(&self, now: Instant) -> Instant {
        let timing = self.publisher.timing;
        let stalls = self
            .may_read()
            .then(|| self.read_at + timing.sweep_stalled_after);
        let of_stage = match self.stage {
            Stage::Holding => [self.keys.next_try(), self.broker.next_question()],
            Stage::Last(until) => [Some(until), None],
            // The turns until then; after that, the marks.
            Stage::Ending(until) if until > now => [Some(until), None],
            Stage::Ending(until) => [Some(until + timing.mark_limit), None],
        };
        let dues = [self.next_sweep(), self.marks.due(self.more_comes()), stalls];
        let next = dues.into_iter().chain(of_stage).flatten().min();
        next.unwrap_or(now + timing.safety_interval)
    }

    /// Whether more is to be marked soon.
    fn more_comes(&self) -> bool {
        matches!(self.sweep, Some(Sweep::Backlog { .. }))
    }

    fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending(_))
    }

    fn has_nothing_to_do(&self) -> bool {
        let is_at_rest = self.sweep.is_none() && !self.is_wanted && self.in_flight == 0;
        is_at_rest && self.marks.are_none()
    }

    fn is_done(&self, now: Instant) -> bool {
        let Stage::Ending(until) = self.stage else {
            return false;
        };
        let is_written = self.marks.are_none() && self.writes.is_empty();
        self.in_flight == 0 && (is_written || now >= until + self.publisher.timing.mark_limit)
    }

    /// What the last requests saved is still published.
    fn stop(&mut self) {
        self.is_wanted = true;
        self.stage = Stage::Last(Instant::now() + self.publisher.timing.last_sweep);
    }

    fn end(&mut self) {
        self.sweep = None;
        self.stage = Stage::Ending(Instant::now() + self.publisher.timing.last_sweep);
    }

    /// A name that was left before the trouble began says nothing: its instance may have the same.
    fn leave_it_to_another(&mut self, now: Instant) {
        let trouble = self.broker.trouble(now);
        let Some(Trouble { since, why }) = trouble.or_else(|| self.keys.trouble(now)) else {
            return;
        };
        if self.lease.somebody_waits_since(since) {
            tracing::warn!(
                why,
                "this instance leaves publishing to another, which waits"
            );
            self.for_another = true;
            self.end();
        }
    }
}

#[cfg(test)]
mod tests;
