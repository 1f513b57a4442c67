//! Decides who publishes: an instance that could asks for the lease, and publishes while it has it.

mod backlog;
mod broker;
mod holder;
mod keys;
mod marks;
mod turn;
mod watcher;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bson::oid::ObjectId;
use db::cause;
use metrics::{counter, gauge};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use holder::Holder;
pub(crate) use turn::sampled;
use watcher::Bell;

use crate::{
    JetStream, Outbox, Recent, Timing,
    jetstream::StreamState,
    lease::{Lease, Taken},
    metrics::{IS_PUBLISHER, STREAM_CHECK_FAILURES},
    told::Told,
};

/// Why another instance should publish, if one waits for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trouble {
    since: Instant,
    why: &'static str,
}

/// Publishes the events that are unsent.
#[derive(Clone)]
pub struct Publisher {
    /// Give it a [`Db`](db::Db) of its own ([`Db::beside`](db::Db::beside)) where requests use another: it goes on where all of theirs hang.
    pub outbox: Outbox,
    pub jetstream: JetStream,
    /// Events are kept this long after their publication; an index that is dropped comes back with it.
    pub event_retention: Duration,
    pub timing: Timing,
    /// Whether a collector takes traces. Without one, no spans are made.
    pub is_traced: bool,
    /// What people look at.
    pub recent: Recent,
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
            recent: Recent::default(),
        }
    }

    /// Publishes until `served`; then what is unsent, for a second at most, and hands the lease over. An instance that fails
    /// while another waits leaves the lease to that one.
    ///
    /// # Errors
    /// When a task of its own panicked.
    pub async fn run(self, served: CancellationToken) -> anyhow::Result<()> {
        gauge!(IS_PUBLISHER).set(0.0);
        let publisher = Arc::new(self);
        let mut others_first = Instant::now();
        while let Some(taken) = publisher.stand_by(others_first, &served).await {
            let Taken {
                lease,
                mut renewal,
                gave_up,
            } = taken;
            let bell = Arc::new(Bell::default());
            let ring = watcher::ring(Arc::clone(&publisher), Arc::clone(&bell));
            let mut watcher = AbortOnDropHandle::new(tokio::spawn(ring));
            gauge!(IS_PUBLISHER).set(1.0);
            let mut holder = Holder::new(&publisher, &lease, &bell, gave_up);
            tokio::select! {
                () = holder.publish(&served) => {}
                ended = &mut watcher => ended.context("the task that watches the events")?,
                Err(panicked) = &mut renewal => {
                    return Err(panicked).context("the task that renews the lease");
                }
            }
            gauge!(IS_PUBLISHER).set(0.0);
            drop(watcher);
            publisher.recent.stands_by();
            if holder.leaves_it_to_another() {
                others_first = Instant::now() + publisher.timing.precedence;
            }
            let gave_up = holder.gave_up();
            drop(holder);
            lease.release(renewal, &gave_up).await;
        }
        Ok(())
    }

    /// Waits until this instance has the lease, which it asks for while it could publish, from `since` on. `None` when `served` came
    /// first: an instance that stops does not take the lease again.
    async fn stand_by(&self, since: Instant, served: &CancellationToken) -> Option<Taken> {
        let instance_id = ObjectId::new();
        // Its own check of the stream holds until then.
        let mut fit_until = Instant::now();
        let mut told = Told::default();
        served.run_until_cancelled(sleep_until(since)).await?;
        loop {
            served
                .run_until_cancelled(self.jetstream.connected())
                .await?;
            let is_fit = if Instant::now() < fit_until {
                Ok(fit_until)
            } else {
                let checked = served.run_until_cancelled(self.could_publish()).await?;
                checked.map(|()| Instant::now() + self.timing.stream_check_again)
            };
            let pause = match is_fit {
                Ok(until) => {
                    fit_until = until;
                    match Lease::take(&self.outbox.db, self.timing, instance_id).await {
                        Ok(Some(taken)) => return Some(taken),
                        Ok(None) => told.is_over(),
                        Err(error) => {
                            told.tell("cannot ask for the publisher's lease", cause(&error));
                        }
                    }
                    self.timing.standby_interval
                }
                Err(error) => {
                    let failure = "the stream cannot be used; this instance does not publish";
                    told.tell(failure, format!("{error:#}"));
                    self.timing.stream_check
                }
            };
            served.run_until_cancelled(sleep(pause)).await?;
        }
    }

    async fn could_publish(&self) -> anyhow::Result<()> {
        match self.check_stream().await? {
            StreamState::There | StreamState::Made => Ok(()),
            StreamState::Narrow(why) | StreamState::Unfit(why) => Err(anyhow::Error::msg(why)),
        }
    }

    /// Looks whether the stream is there and fit; makes it where it is not there, and tells where it had been.
    async fn check_stream(&self) -> anyhow::Result<StreamState> {
        let found = self.jetstream.ensure_stream().await;
        match &found {
            Ok(StreamState::There) => {}
            Ok(StreamState::Made) => self.tell_of_what_is_lost().await,
            Ok(StreamState::Narrow(_) | StreamState::Unfit(_)) | Err(_) => {
                counter!(STREAM_CHECK_FAILURES).increment(1)
            }
        }
        found
    }

    async fn tell_of_what_is_lost(&self) {
        let limit = self.timing.sweep_stalled_after;
        match self.outbox.bounded(limit, Outbox::last_sent).await {
            Ok(None) => {}
            Ok(Some(last)) => tracing::error!(
                last_published = %last,
                "the stream was gone and has been made anew: what it held is lost; `outbox replay` publishes again what is still kept"
            ),
            Err(error) => tracing::error!(
                error = cause(&error),
                "the stream was made; it cannot be told whether it had been there"
            ),
        }
    }

    /// A collection that was dropped comes back with its indexes.
    async fn prepare_again(&self) {
        let (retention, limit) = (self.event_retention, self.timing.sweep_stalled_after);
        let restore = |outbox: Outbox| async move { outbox.restore(retention).await };
        if let Err(error) = self.outbox.bounded(limit, restore).await {
            // That what is read fails was told.
            tracing::debug!(error = cause(&error), "cannot prepare the events");
        }
    }
}
