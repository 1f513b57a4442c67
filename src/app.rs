//! The composition root: connects, prepares, serves, supervises and drains.

use std::{fmt::Display, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    admin,
    auth::Authenticator,
    config::{HttpConfig, MongoConfig, NatsConfig, Unusable},
    db::Db,
    http::{self, HEADER_READ_TIMEOUT, Health},
    idempotency, metrics,
    outbox::{self, Broker, Publisher},
    state::AppState,
    tickets as domain,
};

pub use domain::{NOUN as KEY_ALIAS, SUBJECTS};

/// After a stop is asked for, what is not finished by then is given up.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
const PREPARE_AGAIN_AFTER: Duration = Duration::from_millis(250);
const PREPARE_AGAIN_LIMIT: Duration = Duration::from_secs(5);
/// An index on a large collection takes its time.
const PREPARE_LIMIT: Duration = Duration::from_secs(600);

/// The HTTP interface: a listener that is bound already, so that the caller knows its port, and how requests
/// are checked.
pub type Http = (TcpListener, HttpConfig);

/// The servers behind this process.
pub struct Servers {
    db: Db,
    /// `None` where this process does not publish.
    broker: Option<Broker>,
    event_retention: Duration,
}

impl Servers {
    /// Reads the options. Nothing needs to answer yet: MongoDB and NATS may be away.
    ///
    /// # Errors
    /// When an option can't be used.
    pub async fn new(mongo: &MongoConfig, nats: Option<&NatsConfig>) -> Result<Self, Unusable> {
        let unusable = |variable, error: &dyn Display| Unusable {
            variable,
            reason: error.to_string(),
        };
        let db = Db::new(mongo).await;
        let broker = match nats {
            Some(nats) => Some(Broker::connect(nats, SUBJECTS).await),
            None => None,
        };
        Ok(Self {
            db: db.map_err(|error| unusable("MONGO_URI", &error))?,
            broker: broker
                .transpose()
                .map_err(|error| unusable("NATS_URL", &error))?,
            event_retention: mongo.event_retention,
        })
    }
}

/// Runs until `stop`, then drains: the HTTP interface where there is one, and the publisher where there is a broker.
/// `admin` is the listener of the metrics, where they are wanted.
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
        broker,
        event_retention,
    } = servers;
    let mut tasks = JoinSet::new();
    if let Some((listener, config)) = http {
        let health = Health {
            db: db.clone(),
            nats: broker.as_ref().map(|broker| broker.client().clone()),
            stop: stop.clone(),
        };
        let state = AppState {
            db: db.clone(),
            auth: Arc::new(Authenticator::new(&config)?),
            health,
        };
        tracing::info!(address = %listener.local_addr()?, "listening");
        let (routes, stop) = (routes(state, &config), stop.clone());
        // Those who send requests here hear first, from /health/ready, that it is to end.
        let closing = CancellationToken::new();
        let close = closing.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            tokio::time::sleep(config.stop_delay).await;
            close.cancel();
        });
        tasks.spawn(async move {
            http::serve(listener, routes, HEADER_READ_TIMEOUT, closing).await;
            ("http", Ok(()))
        });
    }
    if let Some(listener) = admin {
        let metrics = metrics::install()?;
        let url = format!("http://{}/metrics", listener.local_addr()?);
        tracing::info!(metrics = url, "for those who run the service");
        let figures = admin::read_figures(db.clone(), metrics.clone());
        let routes = admin::routes(metrics.clone());
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = figures => {}
                () = http::serve(listener, routes, HEADER_READ_TIMEOUT, stop) => {}
            }
            ("admin", Ok(()))
        });
    }
    let (prepared, stopped) = (db.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => return ("outbox", Ok(())),
            () = prepare(&prepared, event_retention) => {}
        }
        let Some(broker) = broker else {
            stopped.cancelled().await;
            return ("outbox", Ok(()));
        };
        let publisher = Publisher {
            db: prepared,
            broker,
            event_retention,
        };
        ("outbox", publisher.run(stopped).await)
    });
    supervise(tasks, &db, stop).await
}

/// All routes of the service, inside limits and middleware.
pub fn routes(state: AppState, config: &HttpConfig) -> Router {
    let auth = Arc::clone(&state.auth);
    let (domain, _) = domain::routes().with_state(state.clone()).split_for_parts();
    let (health, _) = http::health_routes().with_state(state).split_for_parts();
    let routes = http::with_limits(domain, config, auth)
        .merge(health)
        .merge(http::docs_routes(openapi()));
    http::with_middleware(routes, &config.cors_origins, http::REQUEST_TIMEOUT)
}

/// What can be asked of the service, for machines to read.
pub fn openapi() -> OpenApi {
    let (_, api) = OpenApiRouter::<AppState>::with_openapi(http::openapi())
        .merge(domain::routes())
        .merge(http::health_routes())
        .split_for_parts();
    http::with_shared_answers(api)
}

/// Makes collections and indexes, and waits for the database as long as it takes.
async fn prepare(db: &Db, retention: Duration) {
    let mut delay = PREPARE_AGAIN_AFTER;
    loop {
        let preparing = db.clone();
        let all = async move {
            preparing.check_replica_set().await?;
            domain::prepare(&preparing).await?;
            idempotency::prepare(&preparing).await?;
            outbox::prepare(&preparing, retention).await
        };
        match db.bounded(PREPARE_LIMIT, all).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(%error, again_in = ?delay, "waiting for the database");
            }
        }
        tokio::time::sleep(delay).await;
        delay = PREPARE_AGAIN_LIMIT.min(delay * 2);
    }
    db.mark_prepared();
    tracing::info!("the database is ready");
}

/// Whichever comes first, `stop` or the end of a task, stops the rest, which drains under a deadline.
async fn supervise(
    mut tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    db: &Db,
    stop: CancellationToken,
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
    if tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err() {
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
        Db::new(&MongoConfig {
            mongo_uri,
            event_retention: Duration::from_secs(1),
        })
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
            let failure = supervise(tasks, &db().await, stop).await.unwrap_err();
            assert!(format!("{failure:#}").contains(told), "{failure:#}");
        }
    }
}
