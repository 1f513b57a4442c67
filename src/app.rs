//! The composition root: connects, prepares, serves, supervises and drains.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::{Router, serve::ListenerExt};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Authenticator,
    config::{HttpConfig, MongoConfig, NatsConfig},
    db::Db,
    http::{self, Health},
    outbox::{self, Broker, Publisher},
    state::AppState,
    tickets as domain,
};

pub use domain::{NOUN as KEY_ALIAS, SUBJECTS};

/// After a stop is asked for, what is not finished by then is given up.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
const PREPARE_INTERVAL: Duration = Duration::from_secs(1);

/// What one process does: the HTTP interface, the publisher, or both.
pub struct Roles {
    /// A listener that is bound already, so that the caller knows its port, and how requests are checked.
    pub http: Option<(TcpListener, HttpConfig)>,
    pub publisher: bool,
}

/// Runs until `stop`, then drains. MongoDB and NATS may be away, at the start too.
///
/// # Errors
/// When a task ends before `stop`: the process must not go on without it.
pub async fn run(
    roles: Roles,
    mongo: &MongoConfig,
    nats: &NatsConfig,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let db = Db::new(mongo).await.context("MONGO_URI cannot be used")?;
    let broker = match roles.publisher {
        true => Some(
            Broker::connect(nats, domain::SUBJECTS)
                .await
                .context("NATS_URL cannot be used")?,
        ),
        false => None,
    };
    let mut tasks = JoinSet::new();
    if let Some((listener, config)) = roles.http {
        let health = Health {
            db: db.clone(),
            nats: broker.as_ref().map(|broker| broker.client().clone()),
        };
        let state = AppState {
            db: db.clone(),
            auth: Arc::new(Authenticator::new(&config)),
            health,
        };
        let server = serve(listener, routes(state), stop.clone());
        tasks.spawn(async move { ("http", server.await) });
    }
    let (prepared, retention, stopped) = (db.clone(), mongo.event_retention, stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => return ("outbox", Ok(())),
            () = prepare(&prepared, retention) => {}
        }
        match broker {
            Some(broker) => {
                Publisher {
                    db: prepared,
                    broker,
                    event_retention: retention,
                }
                .run(stopped)
                .await
            }
            None => stopped.cancelled().await,
        }
        ("outbox", Ok(()))
    });
    supervise(tasks, &db, stop).await
}

/// All routes of the service, inside the middleware.
pub fn routes(state: AppState) -> Router {
    let routes = Router::new()
        .merge(domain::routes())
        .merge(http::health_routes())
        .with_state(state);
    http::with_middleware(routes, http::REQUEST_TIMEOUT)
}

async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "listening");
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(Into::into)
}

/// Makes collections and indexes, and waits for the database as long as it takes.
async fn prepare(db: &Db, retention: Duration) {
    let all = async || {
        domain::prepare(db).await?;
        outbox::prepare(db, retention).await
    };
    while let Err(error) = all().await {
        tracing::warn!(%error, "waiting for the database");
        tokio::time::sleep(PREPARE_INTERVAL).await;
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
        () = stop.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    // A task that ends because of the stop is no failure of its own.
    let failure = early
        .filter(|_| !stop.is_cancelled())
        .map(|ended| match ended {
            Ok((name, Ok(()))) => anyhow::anyhow!("the {name} task ended early"),
            Ok((name, Err(error))) => error.context(format!("the {name} task failed")),
            Err(panicked) => anyhow::Error::from(panicked).context("a task panicked"),
        });
    tracing::info!("stopping");
    stop.cancel();
    let drained = async {
        while tasks.join_next().await.is_some() {}
        db.drained().await;
    };
    if tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err() {
        tracing::warn!("not all was finished before the deadline");
    }
    failure.map_or(Ok(()), Err)
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
