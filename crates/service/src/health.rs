//! Liveness and readiness. NATS being down is told but is no reason to be taken out: writes work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use db::Db;
use messaging::JetStream;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Problem, Refusal};

const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// A ping counts for so long. However often readiness is asked for, MongoDB is asked no more often than that, but for once when the
/// database has just been prepared.
pub const PING_INTERVAL: Duration = Duration::from_millis(250);

/// What keeps us from working with MongoDB, if anything does.
type Found = Result<(), String>;

/// MongoDB was asked.
struct Check {
    at: Instant,
    /// Whether the database was prepared by then: an answer of before says nothing of afterwards.
    is_prepared: bool,
    found: Found,
}

/// What readiness is read from.
#[derive(Clone)]
pub(crate) struct Health {
    db: Db,
    /// `None` where this process neither publishes nor consumes.
    jetstream: Option<JetStream>,
    /// Cancelled when a stop was asked for.
    stop: CancellationToken,
    last_check: Arc<Mutex<Option<Check>>>,
}

impl Health {
    pub(crate) fn new(db: Db, jetstream: Option<JetStream>, stop: CancellationToken) -> Self {
        Self {
            db,
            jetstream,
            stop,
            last_check: Arc::default(),
        }
    }

    async fn check(&self) -> Found {
        let mut last = Arc::clone(&self.last_check).lock_owned().await;
        let is_prepared = self.db.is_prepared();
        if let Some(last) = &*last
            && last.at.elapsed() < PING_INTERVAL
            && last.is_prepared == is_prepared
        {
            return last.found.clone();
        }
        let db = self.db.clone();
        // A task, so that the answer counts also where the one who asked has hung up; there is one of it, however many ask.
        let asked = tokio::spawn(async move {
            let found = db.check(PING_TIMEOUT).await;
            *last = Some(Check {
                at: Instant::now(),
                is_prepared,
                found: found.clone(),
            });
            found
        });
        asked
            .await
            .unwrap_or_else(|panicked| Err(panicked.to_string()))
    }
}

/// That the service is well.
#[derive(Serialize, ToSchema)]
struct Well {
    #[schema(examples("ok"))]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("up"))]
    mongodb: Option<&'static str>,
    /// `up` or `down`; not there where this process neither publishes nor consumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("up"))]
    nats: Option<&'static str>,
}

/// `/health/live` and `/health/ready`.
pub(crate) fn routes() -> OpenApiRouter<Health> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
}

/// Whether the process lives
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It does.", body = Well)))]
async fn live() -> Json<Well> {
    Json(Well {
        status: "ok",
        mongodb: None,
        nats: None,
    })
}

/// Whether it takes requests
///
/// Without NATS it does: events wait in the database.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "It does.", body = Well),
    (status = 503, description = "MongoDB does not answer, refuses us or takes no writes; it is not prepared yet; or a stop was asked for. The message says which, and why.", body = Problem, content_type = "application/problem+json", headers(
        ("Retry-After" = u32, description = "Seconds."),
    )),
))]
async fn ready(State(health): State<Health>) -> Result<Json<Well>, Refusal> {
    if health.stop.is_cancelled() {
        return Err(Refusal::Unready("the service is stopping".to_owned()));
    }
    health.check().await.map_err(Refusal::Unready)?;
    let nats = health.jetstream.map(|nats| nats.is_connected());
    Ok(Json(Well {
        status: "ok",
        mongodb: Some("up"),
        nats: nats.map(|is_connected| if is_connected { "up" } else { "down" }),
    }))
}
