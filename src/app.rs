//! The composition root: connects, prepares, serves, supervises and drains.

use std::{sync::Arc, time::Duration};

use axum::Router;
use db::{Db, MongoOptions, Unusable};
use messaging::{EventOptions, JetStream, NatsOptions, Outbox, Publisher};
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::{
    admin,
    auth::Authenticator,
    config::{HttpConfig, SERVICE},
    http::{self, Health, Timeouts},
    idempotency,
    state::AppState,
    telemetry, tickets as domain,
};

pub use domain::{NOUN as KEY_ALIAS, SUBJECTS};

/// Every time that the service keeps to, apart from those of the configuration. A caller may give others.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long the requests that are under way may take when no more are taken.
    pub http_drain: Duration,
    /// From the end of `STOP_DELAY` to the end of the process: then the publisher finishes what is in flight.
    pub drain: Duration,
    /// The pause before collections and indexes are made again; it doubles with each further one.
    pub prepare_again: Duration,
    /// The longest such pause.
    pub longest_prepare_again: Duration,
    /// How long making them may take: an index on a large collection takes its time.
    pub prepare_limit: Duration,
    pub http: Timeouts,
    pub db: db::Timing,
    pub outbox: messaging::Timing,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            http_drain: Duration::from_secs(10),
            drain: Duration::from_secs(13),
            prepare_again: Duration::from_millis(250),
            longest_prepare_again: Duration::from_secs(5),
            prepare_limit: Duration::from_secs(600),
            http: Timeouts::default(),
            db: db::Timing::default(),
            outbox: messaging::Timing::default(),
        }
    }
}

/// The HTTP interface.
pub struct Http {
    /// Bound already, so that the caller knows its port.
    pub listener: TcpListener,
    pub config: HttpConfig,
    pub auth: Authenticator,
}

/// The servers behind this process.
pub struct Servers {
    db: Db,
    /// `None` where this process does not publish.
    jetstream: Option<JetStream>,
    event_retention: Duration,
    timing: Timing,
}

impl Servers {
    /// Reads the options. Nothing needs to answer yet: MongoDB and NATS may be away.
    ///
    /// # Errors
    /// When an option can't be used.
    pub async fn new(
        mongo: &MongoOptions,
        events: &EventOptions,
        nats: Option<&NatsOptions>,
        timing: Timing,
    ) -> Result<Self, Unusable> {
        let db = Db::connect(mongo, SERVICE, timing.db).await?;
        let jetstream = match nats {
            Some(nats) => Some(JetStream::connect(nats, SERVICE, SUBJECTS, timing.outbox).await?),
            None => None,
        };
        Ok(Self {
            db,
            jetstream,
            event_retention: events.event_retention,
            timing,
        })
    }
}

/// Runs until `stop`, then drains: the HTTP interface where there is one, then the publisher where there is a broker.
/// `admin` is the listener of the metrics, where they are wanted; they can be read to the end.
///
/// # Errors
/// When a task ends before `stop`: the process must not go on without it.
pub async fn run(
    http: Option<Http>,
    admin: Option<TcpListener>,
    servers: Servers,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Servers {
        db,
        jetstream,
        event_retention,
        timing,
    } = servers;
    let mut tasks = JoinSet::new();
    let (mut served, mut drain_limit) = (stop.clone(), timing.drain);
    if let Some(Http {
        listener,
        config,
        auth,
    }) = http
    {
        let nats = jetstream.as_ref().map(|nats| nats.client().clone());
        let state = AppState {
            db: db.clone(),
            auth: Arc::new(auth),
            health: Health::new(db.clone(), nats, stop.clone()),
        };
        tracing::info!(address = %listener.local_addr()?, "listening");
        // What the last requests save is published as well.
        served = CancellationToken::new();
        drain_limit += config.stop_delay;
        let (routes, stop, is_served) = (
            routes(state, &config, timing.http),
            stop.clone(),
            served.clone(),
        );
        tasks.spawn(async move {
            let _served = is_served.drop_guard();
            serve(listener, routes, config.stop_delay, timing, stop).await;
            ("http", Ok(()))
        });
    }
    let prepared = db.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = served.cancelled() => return ("outbox", Ok(())),
            () = prepare(&prepared, event_retention, timing) => {}
        }
        let Some(jetstream) = jetstream else {
            served.cancelled().await;
            return ("outbox", Ok(()));
        };
        let publisher = Publisher {
            outbox: Outbox::new(&prepared),
            jetstream,
            event_retention,
            timing: timing.outbox,
            is_traced: telemetry::is_tracing(),
        };
        ("outbox", publisher.run(served).await)
    });
    let supervised = supervise(tasks, &db, stop, drain_limit);
    let Some(listener) = admin else {
        return supervised.await;
    };
    tokio::select! {
        ended = supervised => ended,
        ended = admin::serve(listener, Outbox::new(&db)) => ended,
    }
}

/// Serves until `stop`, and for `stop_delay` more: those who send requests here hear first, from `/health/ready`,
/// that it is to end.
async fn serve(
    listener: TcpListener,
    routes: Router,
    stop_delay: Duration,
    timing: Timing,
    stop: CancellationToken,
) {
    let closing = CancellationToken::new();
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(stop_delay).await;
        closing.cancel();
        tokio::time::sleep(timing.http_drain).await;
    };
    tokio::select! {
        () = http::serve(listener, routes, timing.http, closing.clone()) => {}
        () = deadline => tracing::warn!("some requests were not finished before the deadline"),
    }
}

/// All routes of the service, inside limits and middleware.
pub fn routes(state: AppState, config: &HttpConfig, timeouts: Timeouts) -> Router {
    let auth = Arc::clone(&state.auth);
    let (domain, _) = domain::routes().with_state(state.clone()).split_for_parts();
    let (health, _) = http::health_routes().with_state(state).split_for_parts();
    let domain = http::with_bounded_work(domain, config.concurrency_limit, timeouts);
    let routes = http::with_rate_limit(domain, config.rate_limit, auth)
        .merge(health)
        .merge(http::docs_routes(openapi()));
    http::with_middleware(routes, &config.cors_origins)
}

/// What can be asked of the service, for machines to read.
pub fn openapi() -> OpenApi {
    let (_, domain) = domain::routes().split_for_parts();
    let (_, health) = http::health_routes::<AppState>().split_for_parts();
    let api = http::openapi()
        .merge_from(http::with_shared_answers(domain))
        .merge_from(health);
    http::with_request_ids(api)
}

/// Makes collections and indexes, and waits for the database as long as it takes.
async fn prepare(db: &Db, retention: Duration, timing: Timing) {
    let mut delay = timing.prepare_again;
    loop {
        let preparing = db.clone();
        let all = async move {
            preparing.check_replica_set().await?;
            domain::prepare(&preparing).await?;
            idempotency::prepare(&preparing).await?;
            Outbox::new(&preparing).prepare(retention).await
        };
        match db.bounded(timing.prepare_limit, all).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(%error, again_in = ?delay, "waiting for the database");
            }
        }
        tokio::time::sleep(delay).await;
        delay = timing.longest_prepare_again.min(delay * 2);
    }
    db.mark_prepared();
    tracing::info!("the database is ready");
}

/// Whichever comes first, `stop` or the end of a task, stops the rest, which drains under a deadline.
async fn supervise(
    mut tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    db: &Db,
    stop: CancellationToken,
    drain_limit: Duration,
) -> anyhow::Result<()> {
    let early = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    let mut failure = early.and_then(|ended| {
        let early = ended.as_ref().ok().map(|(name, _)| *name);
        failure_of(ended).or_else(|| Some(anyhow::anyhow!("the {} task ended early", early?)))
    });
    tracing::info!("stopping");
    stop.cancel();
    let drained = async {
        while let Some(ended) = tasks.join_next().await {
            failure = failure.take().or_else(|| failure_of(ended));
        }
        db.drained().await;
    };
    if tokio::time::timeout(drain_limit, drained).await.is_err() {
        tracing::warn!("not all was finished before the deadline");
    }
    failure.map_or(Ok(()), Err)
}

fn failure_of(
    ended: Result<(&'static str, anyhow::Result<()>), JoinError>,
) -> Option<anyhow::Error> {
    match ended {
        Ok((_, Ok(()))) => None,
        Ok((name, Err(error))) => Some(error.context(format!("the {name} task failed"))),
        Err(panicked) => Some(anyhow::Error::from(panicked).context("a task panicked")),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    /// A database that nobody asks for anything.
    async fn db() -> Db {
        let mongo_uri = SecretString::from("mongodb://127.0.0.1:1/test");
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
            let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
            tasks.spawn(async move { ("first", end()) });
            let stopped = stop.clone();
            tasks.spawn(async move {
                stopped.cancelled().await;
                ("second", Ok(()))
            });
            let failure = supervise(tasks, &db().await, stop, Timing::default().drain)
                .await
                .unwrap_err();
            assert!(format!("{failure:#}").contains(told), "{failure:#}");
        }
    }
}
