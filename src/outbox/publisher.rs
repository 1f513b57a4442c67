//! Decides when to publish: while this instance has the lease, on every ring of the doorbell, after every
//! failure with growing delays, and every 30 s whatever happens.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use bson::RawDocumentBuf;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    broker::Broker,
    doorbell,
    event::{self, EVENTS},
    lease::Lease,
    sweep::sweep,
};
use crate::db::Db;

/// Finds what no bell rang for.
const SAFETY_INTERVAL: Duration = Duration::from_secs(30);

/// Publishes the events that are unsent.
pub struct Publisher {
    pub db: Db,
    pub broker: Broker,
    pub event_retention: Duration,
}

impl Publisher {
    /// Publishes until `stop`; then finishes what is in flight and hands the lease over.
    pub async fn run(self, stop: CancellationToken) {
        while let Some((lease, renewal)) = Lease::acquire(&self.db, &stop).await {
            self.publish_while_held(&lease, &stop).await;
            drop(renewal);
            lease.release().await;
            if stop.is_cancelled() {
                return;
            }
        }
    }

    async fn publish_while_held(&self, lease: &Lease, stop: &CancellationToken) {
        let bell = Arc::new(Notify::new());
        let _watcher = AbortOnDropHandle::new(tokio::spawn(doorbell::ring(
            self.db.clone(),
            Arc::clone(&bell),
        )));
        let mut delays = delays();
        let mut stream_is_there = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = lease.lost() => return,
                () = self.broker.connected() => {}
            }
            let (delay, until_bell) = match self.sweep_once(lease, stop, &mut stream_is_there).await
            {
                Outcome::Done => {
                    delays = self::delays();
                    (SAFETY_INTERVAL, true)
                }
                Outcome::More => continue,
                Outcome::EventFailed => (delays.next().unwrap_or(SAFETY_INTERVAL), true),
                Outcome::Failed => (delays.next().unwrap_or(SAFETY_INTERVAL), false),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = lease.lost() => return,
                () = bell.notified(), if until_bell => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// After any failure of the broker the stream is looked for again: perhaps it is gone.
    async fn sweep_once(
        &self,
        lease: &Lease,
        stop: &CancellationToken,
        stream_is_there: &mut bool,
    ) -> Outcome {
        if !*stream_is_there {
            if let Err(error) = self.broker.ensure_stream().await {
                tracing::warn!(error = format!("{error:#}"), "the stream cannot be used");
                return Outcome::Failed;
            }
            *stream_is_there = true;
        }
        let events = self.db.collection::<RawDocumentBuf>(EVENTS);
        let swept = match sweep(&self.db, &events, &self.broker, lease, stop).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(%error, "cannot read or mark the events");
                self.prepare_again().await;
                return Outcome::Failed;
            }
        };
        tracing::debug!(events.published = swept.published, "swept");
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

    /// A collection that was dropped comes back with its indexes.
    async fn prepare_again(&self) {
        let (db, retention) = (self.db.clone(), self.event_retention);
        let preparing = async move { event::prepare(&db, retention).await };
        if let Err(error) = self.db.bounded(SAFETY_INTERVAL, preparing).await {
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

fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(3))
        .without_max_times()
        .with_jitter()
        .build()
}
