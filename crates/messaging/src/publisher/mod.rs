//! Decides when to publish: while this instance has the lease, on every ring of the doorbell, after every
//! failure with growing delays, and every 30 s whatever happens.

mod backlog;
pub(crate) mod lease;
mod marks;
mod pass;
mod watcher;

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use backon::{BackoffBuilder, ExponentialBuilder};
use metrics::{gauge, histogram};
use mongodb::error::Result as MongoResult;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use lease::Lease;
use marks::Unmarked;
use pass::{Swept, sweep};

use crate::{
    JetStream, Outbox, Timing,
    metrics::{IS_PUBLISHER, SWEEP_SIZE},
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

    /// Publishes until `stop`; then what is unsent, for a second at most, and hands the lease over. An instance that has
    /// no connection to the broker leaves the lease to others.
    ///
    /// # Errors
    /// When a task of its own panicked.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        gauge!(IS_PUBLISHER).set(0.0);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.jetstream.connected() => {}
            }
            let Some((lease, mut renewal)) =
                Lease::acquire(&self.outbox.db, self.timing, &stop).await
            else {
                return Ok(());
            };
            let bell = Arc::new(Notify::new());
            let ring = watcher::ring(self.outbox.clone(), self.timing, Arc::clone(&bell));
            let mut watcher = AbortOnDropHandle::new(tokio::spawn(ring));
            gauge!(IS_PUBLISHER).set(1.0);
            tokio::select! {
                () = self.publish_while_held(&lease, &bell, &stop) => {}
                ended = &mut watcher => ended.context("the task that watches the events")?,
                Err(panicked) = &mut renewal => {
                    return Err(panicked).context("the task that renews the lease");
                }
            }
            gauge!(IS_PUBLISHER).set(0.0);
            lease.release(renewal).await;
        }
    }

    async fn publish_while_held(&self, lease: &Lease, bell: &Notify, stop: &CancellationToken) {
        let timing = self.timing;
        let mut delays = delays(timing);
        let mut stream_is_there = false;
        let mut unmarked = Unmarked::new(&self.outbox, timing);
        let mut next = Instant::now();
        loop {
            sleep_until(next).await;
            next = Instant::now() + timing.sweep_pause;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = lease.lost() => break,
                () = self.jetstream.connected() => {}
                () = sleep(timing.unconnected_limit) => break,
            }
            let swept = self.sweep_once(lease, stop, &mut stream_is_there, &mut unmarked);
            let swept = swept.await;
            if !lease.is_valid() {
                tracing::warn!("the publisher's lease has run out");
                break;
            }
            let (delay, mut until_bell) = match swept {
                Outcome::Done => {
                    // A sweep alone proves nothing while the marks fail: it publishes the same again.
                    if !unmarked.last_mark_failed() {
                        delays = self::delays(timing);
                    }
                    (timing.safety_interval, true)
                }
                Outcome::More => continue,
                Outcome::EventFailed => (delays.next().unwrap_or(timing.longest_retry), true),
                Outcome::Failed => (delays.next().unwrap_or(timing.longest_retry), false),
            };
            let mut again = pin!(sleep(delay));
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = lease.lost() => break,
                    () = bell.notified(), if until_bell => break,
                    () = &mut again => break,
                    // What can't be marked is found unsent by the next sweep, after a while.
                    () = unmarked.due() => if let Err(error) = unmarked.mark().await {
                        tracing::warn!(%error, "cannot mark the events");
                        until_bell = false;
                        again.set(sleep(delays.next().unwrap_or(timing.longest_retry)));
                    },
                }
            }
        }
        if stop.is_cancelled() && self.jetstream.is_connected() {
            // What the last requests saved; the rest of a long backlog is for another instance.
            let enough = CancellationToken::new();
            let time = async {
                sleep(timing.last_sweep).await;
                enough.cancel();
                pending().await
            };
            let sweeps = async {
                while let Outcome::More = self
                    .sweep_once(lease, &enough, &mut stream_is_there, &mut unmarked)
                    .await
                    && !enough.is_cancelled()
                {}
            };
            tokio::select! {
                () = sweeps => {}
                () = time => {}
            }
        }
        if let Err(error) = unmarked.mark().await {
            tracing::warn!(%error, "cannot mark the events");
        }
    }

    /// After any failure of the broker the stream is looked for again: perhaps it is gone.
    async fn sweep_once(
        &self,
        lease: &Lease,
        stop: &CancellationToken,
        stream_is_there: &mut bool,
        unmarked: &mut Unmarked,
    ) -> Outcome {
        if !*stream_is_there {
            if let Err(error) = self.jetstream.ensure_stream().await {
                tracing::warn!(error = format!("{error:#}"), "the stream cannot be used");
                return Outcome::Failed;
            }
            *stream_is_there = true;
        }
        let swept = match self.sweep_and_mark(lease, stop, unmarked).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(%error, "cannot read or mark the events");
                self.prepare_again().await;
                return Outcome::Failed;
            }
        };
        tracing::debug!(events.published = swept.published, "swept");
        if swept.published > 0 {
            histogram!(SWEEP_SIZE).record(swept.published as f64);
        }
        *stream_is_there = !swept.broker_failed;
        if swept.broker_failed || !lease.is_valid() {
            Outcome::Failed
        } else if swept.try_again {
            Outcome::EventFailed
        } else if swept.left_some {
            Outcome::More
        } else {
            Outcome::Done
        }
    }

    async fn sweep_and_mark(
        &self,
        lease: &Lease,
        stop: &CancellationToken,
        unmarked: &mut Unmarked,
    ) -> MongoResult<Swept> {
        if unmarked.is_due() {
            unmarked.mark().await?;
        }
        let mut swept = sweep(self, lease, unmarked.ids(), stop).await?;
        unmarked.add(std::mem::take(&mut swept.unmarked));
        if swept.left_some {
            // The next sweep begins at once, and finds nothing twice.
            unmarked.mark().await?;
        }
        Ok(swept)
    }

    /// A collection that was dropped comes back with its indexes.
    async fn prepare_again(&self) {
        let (outbox, retention) = (self.outbox.clone(), self.event_retention);
        let preparing = async move { outbox.prepare(retention).await };
        if let Err(error) = self
            .outbox
            .db
            .bounded(self.timing.sweep_stalled_after, preparing)
            .await
        {
            tracing::warn!(%error, "cannot prepare the events");
        }
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

/// The jitter adds up to the whole pause again; the longest pause is the longest all the same.
fn delays(timing: Timing) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(timing.first_retry)
        .with_max_delay(timing.longest_retry)
        .without_max_times()
        .with_jitter()
        .build()
        .map(move |delay| delay.min(timing.longest_retry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_from_the_first_to_the_longest_and_never_end() {
        let timing = Timing::default();
        let mut pauses = delays(timing);
        for doubled in 0..6 {
            let least = timing.first_retry * 2_u32.pow(doubled);
            let pause = pauses.next().unwrap();
            assert!((least..=least * 2).contains(&pause), "{doubled}: {pause:?}");
        }
        assert!(
            pauses
                .take(1_000)
                .all(|pause| pause <= timing.longest_retry)
        );
    }
}
