//! When a process ends: whichever comes first, a signal or the end of a task, stops the rest, which drains under a deadline.
//!
//! Three tokens are cancelled one after the other, each once. `stop`: a stop is asked for, which readiness tells those who send requests.
//! `closing`: no more connections are taken. `served`: the last request is answered and the last message applied, and the publisher
//! finishes.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use db::Db;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{Timing, log};

type Ended = (&'static str, anyhow::Result<()>);

/// The tasks of a process, and what stops them in which order.
pub(crate) struct Lifecycle {
    tasks: JoinSet<Ended>,
    timing: Timing,
    drain_limit: Duration,
    pub(crate) stop: CancellationToken,
    closing: CancellationToken,
    pub(crate) served: CancellationToken,
    /// What is worked on for requests.
    pub(crate) work: TaskTracker,
    /// Whoever has it may still record events.
    records: Option<Arc<DropGuard>>,
}

impl Lifecycle {
    pub(crate) fn new(stop: CancellationToken, timing: Timing) -> Self {
        let served = CancellationToken::new();
        Self {
            tasks: JoinSet::new(),
            timing,
            drain_limit: timing.drain,
            stop,
            closing: CancellationToken::new(),
            work: TaskTracker::new(),
            records: Some(Arc::new(served.clone().drop_guard())),
            served,
        }
    }

    /// Serves HTTP until `stop`, and for `stop_delay` more: those who send requests here hear first, from `/health/ready`, that it is
    /// to end. What the last requests save is published as well, so `served` comes after them.
    pub(crate) fn spawn_http(
        &mut self,
        listener: TcpListener,
        routes: Router,
        stop_delay: Duration,
    ) {
        self.drain_limit += stop_delay;
        let timing = self.timing;
        let (stop, closing) = (self.stop.clone(), self.closing.clone());
        let (records, work) = (self.records.clone(), self.work.clone());
        let telling = web::Closing {
            soon: stop.clone(),
            now: closing.clone(),
        };
        self.spawn("http", async move {
            let _records = records;
            let deadline = async {
                stop.cancelled().await;
                sleep(stop_delay).await;
                closing.cancel();
                sleep(timing.http_drain).await;
            };
            let served = async {
                web::serve(listener, routes, timing.http, telling).await;
                // Requests whose clients have hung up.
                work.close();
                work.wait().await;
            };
            tokio::select! {
                () = served => {}
                () = deadline => tracing::warn!("some requests were not finished before the deadline"),
            }
            Ok(())
        });
    }

    /// Runs a task that records events, and that `stop` ends when it has finished what it has begun: as long as the last requests may take,
    /// and no longer, so that the publisher still hands over. What it saves is published.
    pub(crate) fn spawn_recording(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let (records, stop) = (self.records.clone(), self.stop.clone());
        let limit = self.timing.http_drain;
        self.spawn(name, async move {
            let _records = records;
            let deadline = async {
                stop.cancelled().await;
                sleep(limit).await;
            };
            tokio::select! {
                ended = task => ended,
                () = deadline => {
                    tracing::warn!(task = name, "not all that was begun was finished before the deadline");
                    Ok(())
                }
            }
        });
    }

    /// Runs a task that must not end before `stop`.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Returns when all tasks and the database's operations have ended, or when the time for draining is over.
    ///
    /// # Errors
    /// When a task ended before `stop`, or failed.
    pub(crate) async fn run(mut self, db: &Db) -> anyhow::Result<()> {
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
        self.records = None;
        let drained = async {
            while let Some(ended) = self.tasks.join_next().await {
                failure = failure.take().or_else(|| failure_of(ended));
            }
            db.drain().await;
        };
        if tokio::time::timeout(self.drain_limit, drained)
            .await
            .is_err()
        {
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

/// As shells tell a process that SIGINT ended.
const ENDED_BY_CTRL_C: i32 = 130;

/// A `stop` that Ctrl-C, SIGTERM or SIGQUIT cancels; Ctrl-C after it ends the process at once. SIGHUP and the users' signals, which would end the process without a drain,
/// change nothing.
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut quit = signal(SignalKind::quit()).context("SIGQUIT")?;
    let (hangup, users) = (SignalKind::hangup(), SignalKind::user_defined1());
    for ignored in [hangup, users, SignalKind::user_defined2()] {
        drop(signal(ignored).context("a signal to ignore")?);
    }
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
        signalled.cancel();
        interrupt.recv().await;
        log::last_line("ended at once, by Ctrl-C while it was stopping".to_owned());
        std::process::exit(ENDED_BY_CTRL_C);
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
            let mut lifecycle = Lifecycle::new(CancellationToken::new(), Timing::default());
            lifecycle.spawn("first", async move { end() });
            let stop = lifecycle.stop.clone();
            lifecycle.spawn("second", async move {
                stop.cancelled().await;
                Ok(())
            });
            let failure = lifecycle.run(&db().await).await;
            let failure = format!("{:#}", failure.unwrap_err());
            assert!(failure.contains(told), "{failure}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_draining_begins_behind_stop_delay() {
        let timing = Timing::default();
        let longer_than_draining = timing.drain * 2;
        let [in_time, too_long] = [timing.drain / 2, timing.drain * 3 / 2];
        for (takes, is_waited_for) in [(in_time, true), (too_long, false)] {
            let mut lifecycle = Lifecycle::new(CancellationToken::new(), timing);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            lifecycle.spawn_http(listener, Router::new(), longer_than_draining);
            let (served, done) = (lifecycle.served.clone(), CancellationToken::new());
            let last = done.clone();
            lifecycle.spawn("last", async move {
                served.cancelled().await;
                sleep(takes).await;
                last.cancel();
                Ok(())
            });
            lifecycle.stop.cancel();
            lifecycle.run(&db().await).await.unwrap();
            assert_eq!(done.is_cancelled(), is_waited_for, "{takes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_worked_on_for_clients_that_have_gone_is_waited_for() {
        let mut lifecycle = Lifecycle::new(CancellationToken::new(), Timing::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        lifecycle.spawn_http(listener, Router::new(), Duration::ZERO);
        lifecycle.work.spawn(sleep(Duration::from_secs(1)));
        let (served, work) = (lifecycle.served.clone(), lifecycle.work.clone());
        lifecycle.spawn("publisher", async move {
            served.cancelled().await;
            anyhow::ensure!(work.is_empty(), "it goes on");
            Ok(())
        });
        lifecycle.stop.cancel();
        lifecycle.run(&db().await).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_does_not_end_keeps_nobody_from_handing_over() {
        let mut lifecycle = Lifecycle::new(CancellationToken::new(), Timing::default());
        lifecycle.spawn_recording("hangs", std::future::pending());
        let (served, handed_over) = (lifecycle.served.clone(), CancellationToken::new());
        let hands_over = handed_over.clone();
        lifecycle.spawn("publisher", async move {
            served.cancelled().await;
            hands_over.cancel();
            Ok(())
        });
        lifecycle.stop.cancel();
        lifecycle.run(&db().await).await.unwrap();
        assert!(handed_over.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_fails_after_the_stop_is_told_as_well() {
        let mut lifecycle = Lifecycle::new(CancellationToken::new(), Timing::default());
        lifecycle.stop.cancel();
        lifecycle.spawn("last", async { Err(anyhow::anyhow!("a reason")) });
        let failure = lifecycle.run(&db().await).await.unwrap_err();
        assert_eq!(format!("{failure:#}"), "the last task failed: a reason");
    }
}
