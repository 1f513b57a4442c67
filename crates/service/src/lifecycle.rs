//! When a process ends: whichever comes first, a signal or the end of a task, stops the rest, which drains under a deadline.
//!
//! Three tokens are cancelled one after the other. `stop`: a stop is asked for, which readiness tells those who send requests.
//! `closing`: no more connections are taken. `served`: the last request is answered, and the publisher finishes.

use std::{future::Future, time::Duration};

use anyhow::Context;
use db::Db;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

type Ended = (&'static str, anyhow::Result<()>);

/// The tasks of a process, and what stops them.
pub(crate) struct Lifecycle {
    tasks: JoinSet<Ended>,
    pub(crate) stop: CancellationToken,
    pub(crate) closing: CancellationToken,
    pub(crate) served: CancellationToken,
}

impl Lifecycle {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            stop,
            closing: CancellationToken::new(),
            served: CancellationToken::new(),
        }
    }

    /// Runs a task that must not end before `stop`.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Returns when all tasks and the database's operations have ended; `drain_limit` after the stop at the latest.
    ///
    /// # Errors
    /// When a task ended before `stop`, or failed.
    pub(crate) async fn run(mut self, db: &Db, drain_limit: Duration) -> anyhow::Result<()> {
        let early = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            ended = self.tasks.join_next() => ended,
        };
        let mut failure = early.and_then(|ended| {
            let early = ended.as_ref().ok().map(|(name, _)| *name);
            failure_of(ended).or_else(|| Some(anyhow::anyhow!("the {} task ended early", early?)))
        });
        tracing::info!("stopping");
        self.stop.cancel();
        let drained = async {
            while let Some(ended) = self.tasks.join_next().await {
                failure = failure.take().or_else(|| failure_of(ended));
            }
            db.drained().await;
        };
        if tokio::time::timeout(drain_limit, drained).await.is_err() {
            tracing::warn!("not all was finished before the deadline");
        }
        failure.map_or(Ok(()), Err)
    }
}

fn failure_of(ended: Result<Ended, JoinError>) -> Option<anyhow::Error> {
    match ended {
        Ok((_, Ok(()))) => None,
        Ok((name, Err(error))) => Some(error.context(format!("the {name} task failed"))),
        Err(panicked) => Some(anyhow::Error::from(panicked).context("a task panicked")),
    }
}

/// A `stop` that Ctrl-C or SIGTERM cancels.
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signalled.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use db::MongoOptions;

    use super::*;

    /// A database that nobody asks for anything.
    async fn db() -> Db {
        let mongo_uri = "mongodb://127.0.0.1:1/test".into();
        let options = MongoOptions { mongo_uri };
        Db::connect(&options, "test", db::Timing::default())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_task_that_ends_early_fails_or_panics_stops_the_rest_and_is_told() {
        type End = fn() -> anyhow::Result<()>;
        let failed: End = || Err(anyhow::anyhow!("a reason"));
        let panicked: End = || panic!("a reason");
        for (told, end) in [
            ("ended early", (|| Ok(())) as End),
            ("failed", failed),
            ("panicked", panicked),
        ] {
            let mut lifecycle = Lifecycle::new(CancellationToken::new());
            lifecycle.spawn("first", async move { end() });
            let stop = lifecycle.stop.clone();
            lifecycle.spawn("second", async move {
                stop.cancelled().await;
                Ok(())
            });
            let failure = lifecycle.run(&db().await, Duration::from_secs(13)).await;
            let failure = format!("{:#}", failure.unwrap_err());
            assert!(failure.contains(told), "{failure}");
        }
    }
}
