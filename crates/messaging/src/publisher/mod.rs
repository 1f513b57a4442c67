//! Decides when to publish: while this instance has the lease, on every ring of the doorbell, after every
//! failure with growing delays, and every 30 s whatever happens.

mod backlog;
pub(crate) mod lease;
mod marks;
mod pass;
mod pauses;
mod watcher;

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use metrics::{gauge, histogram};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) use backlog::WalkFrom;
use lease::Lease;
use marks::Unmarked;
use pass::{Swept, sweep};
use pauses::Pauses;
use watcher::Bell;

use crate::{
    JetStream, Outbox, Timing,
    jetstream::Found,
    metrics::{IS_PUBLISHER, SWEEP_SIZE},
    parked::Parked,
};

/// Publishes the events that are unsent.
#[derive(Clone)]
pub struct Publisher {
    pub outbox: Outbox,
    pub jetstream: JetStream,
    pub event_retention: Duration,
    pub timing: Timing,
    /// Whether there is a collector: what is for traces alone is not made in vain.
    pub is_traced: bool,
}

impl Publisher {
    /// One with the default times, whose events are kept for `event_retention` after their publication.
    pub fn new(outbox: &Outbox, jetstream: JetStream, event_retention: Duration) -> Self {
        Self {
            outbox: outbox.clone(),
            jetstream,
            event_retention,
            timing: Timing::default(),
            is_traced: false,
        }
    }

    /// Publishes until `served`; then what is unsent, for a second at most, and hands the lease over. An instance that has
    /// no connection to the broker leaves the lease to others.
    ///
    /// # Errors
    /// When a task of its own panicked.
    pub async fn run(self, served: CancellationToken) -> anyhow::Result<()> {
        gauge!(IS_PUBLISHER).set(0.0);
        loop {
            tokio::select! {
                // First: an instance that stops does not take the lease again.
                biased;
                () = served.cancelled() => return Ok(()),
                () = self.jetstream.connected() => {}
            }
            let Some((lease, mut renewal)) =
                Lease::acquire(&self.outbox.db, self.timing, &served).await
            else {
                return Ok(());
            };
            let bell = Arc::new(Bell::default());
            let ring = watcher::ring(self.outbox.clone(), self.timing, Arc::clone(&bell));
            let mut watcher = AbortOnDropHandle::new(tokio::spawn(ring));
            gauge!(IS_PUBLISHER).set(1.0);
            let mut holder = Holder {
                publisher: &self,
                lease: &lease,
                bell: &bell,
                served: &served,
                stream_is_there: false,
                unmarked: Unmarked::new(&self.outbox, self.timing),
                parked: Parked::default(),
                parked_read: Instant::now(),
                pauses: Pauses::new(self.timing),
            };
            tokio::select! {
                () = holder.publish() => {}
                ended = &mut watcher => ended.context("the task that watches the events")?,
                Err(panicked) = &mut renewal => {
                    return Err(panicked).context("the task that renews the lease");
                }
            }
            gauge!(IS_PUBLISHER).set(0.0);
            lease.release(renewal).await;
        }
    }

    /// A collection that was dropped comes back with its indexes.
    async fn prepare_again(&self) {
        let (outbox, retention) = (self.outbox.clone(), self.event_retention);
        let preparing = async move { outbox.prepare(retention).await };
        let (db, limit) = (&self.outbox.db, self.timing.sweep_stalled_after);
        if let Err(error) = db.bounded(limit, preparing).await {
            tracing::warn!(%error, "cannot prepare the events");
        }
    }
}

/// What an instance does while it has the lease.
struct Holder<'a> {
    publisher: &'a Publisher,
    lease: &'a Lease,
    bell: &'a Bell,
    served: &'a CancellationToken,
    stream_is_there: bool,
    unmarked: Unmarked,
    parked: Parked,
    parked_read: Instant,
    pauses: Pauses,
}

impl Holder<'_> {
    /// Publishes until the lease is lost, NATS is away for too long, or `served`.
    async fn publish(&mut self) {
        let timing = self.publisher.timing;
        let mut next = Instant::now();
        loop {
            sleep_until(next).await;
            next = Instant::now() + timing.sweep_pause;
            tokio::select! {
                biased;
                () = self.served.cancelled() => break,
                () = self.lease.lost() => break,
                () = self.publisher.jetstream.connected() => {}
                () = sleep(timing.unconnected_limit) => break,
            }
            let swept = self.sweep_once(self.served).await;
            if !self.lease.is_valid() {
                tracing::warn!("the publisher's lease has run out");
                break;
            }
            match swept {
                Outcome::Done => {
                    // A sweep alone proves nothing while the marks fail: it publishes the same again.
                    if !self.unmarked.last_mark_failed() {
                        self.pauses.start_again();
                    }
                    self.wait(timing.safety_interval, true).await;
                }
                Outcome::More => {}
                Outcome::EventFailed => {
                    let pause = self.pauses.next();
                    self.wait(pause, true).await;
                }
                Outcome::Failed => {
                    let pause = self.pauses.next();
                    self.wait(pause, false).await;
                }
            }
        }
        if self.served.is_cancelled() && self.publisher.jetstream.is_connected() {
            self.publish_the_last().await;
        }
        if let Err(error) = self.unmarked.mark().await {
            tracing::warn!(%error, "cannot mark the events");
        }
    }

    /// Waits before the next sweep, or until the bell rings where that counts, and marks what is due meanwhile.
    async fn wait(&mut self, pause: Duration, mut until_bell: bool) {
        let mut again = pin!(sleep(pause));
        loop {
            tokio::select! {
                // Marks before the bell: else a bell that rings all the time would put them off.
                biased;
                () = self.served.cancelled() => return,
                () = self.lease.lost() => return,
                // What can't be marked is found unsent by the next sweep, after a while.
                () = self.unmarked.due() => if let Err(error) = self.unmarked.mark().await {
                    tracing::warn!(%error, "cannot mark the events");
                    until_bell = false;
                    again.set(sleep(self.pauses.next()));
                },
                () = self.bell.rung(), if until_bell => return,
                () = &mut again => return,
            }
        }
    }

    /// What the last requests saved; the rest of a long backlog is for another instance.
    async fn publish_the_last(&mut self) {
        let enough = CancellationToken::new();
        let time = self.publisher.timing.last_sweep;
        let sweeps = async {
            while let Outcome::More = self.sweep_once(&enough).await
                && !enough.is_cancelled()
            {}
        };
        let limit = async {
            sleep(time).await;
            enough.cancel();
            pending().await
        };
        tokio::select! {
            () = sweeps => {}
            () = limit => {}
        }
    }

    /// After any failure of the broker the stream is looked for again: perhaps it is gone.
    async fn sweep_once(&mut self, enough: &CancellationToken) -> Outcome {
        if !self.stream_is_there {
            if let Err(error) = self.ensure_stream().await {
                tracing::warn!(error = format!("{error:#}"), "the stream cannot be used");
                return Outcome::Failed;
            }
            self.stream_is_there = true;
        }
        let swept = match self.read_and_sweep(enough).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(%error, "cannot read or mark the events");
                self.bell.doubt_parked();
                self.publisher.prepare_again().await;
                return Outcome::Failed;
            }
        };
        tracing::debug!(events.published = swept.published, "swept");
        if swept.published > 0 {
            histogram!(SWEEP_SIZE).record(swept.published as f64);
        }
        self.stream_is_there = !swept.broker_failed;
        if swept.broker_failed || !self.lease.is_valid() {
            Outcome::Failed
        } else if swept.try_again {
            Outcome::EventFailed
        } else if swept.left_some {
            Outcome::More
        } else {
            Outcome::Done
        }
    }

    async fn ensure_stream(&self) -> anyhow::Result<()> {
        let found = self.publisher.jetstream.ensure_stream().await?;
        let outbox = &self.publisher.outbox;
        let limit = self.publisher.timing.sweep_stalled_after;
        if found == Found::Made
            && let Some(last) = outbox.db.bounded(limit, outbox.clone().last_sent()).await?
        {
            tracing::error!(
                last_published = %last,
                "the stream was gone and has been made anew: what it held is lost; `outbox replay` publishes again what is still kept"
            );
        }
        Ok(())
    }

    async fn read_and_sweep(
        &mut self,
        enough: &CancellationToken,
    ) -> mongodb::error::Result<Swept> {
        let (outbox, limit) = (
            &self.publisher.outbox,
            self.publisher.timing.sweep_stalled_after,
        );
        let is_old = self.parked_read.elapsed() >= self.publisher.timing.safety_interval;
        if self.bell.parked_may_have_changed() || is_old {
            self.parked_read = Instant::now();
            let read = outbox.clone().read_parked();
            self.parked = outbox.db.bounded(limit, read).await?;
            self.unmarked.some_were_parked = self.parked.some_are_tried_again;
        }
        let (ids, parked) = (self.unmarked.ids(), &mut self.parked);
        let mut swept = sweep(self.publisher, self.lease, ids, parked, enough).await?;
        self.unmarked.add(std::mem::take(&mut swept.unmarked));
        if swept.left_some {
            // The next sweep begins at once, and finds nothing twice.
            self.unmarked.mark().await?;
        }
        Ok(swept)
    }
}

/// What to do after a sweep.
enum Outcome {
    /// Wait for the bell.
    Done,
    /// Sweep again at once.
    More,
    /// Wait for the bell, but not long.
    EventFailed,
    /// Wait a while, whoever rings.
    Failed,
}
