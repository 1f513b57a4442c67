//! Liveness and readiness. NATS being down is told but is no reason to be taken out: writes work.

use std::time::Duration;

use async_nats::connection::State as Connection;
use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{db::Db, error::problem_with_message};

const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What readiness is read from.
#[derive(Clone)]
pub struct Health {
    pub db: Db,
    /// `None` where this process does not publish.
    pub nats: Option<async_nats::Client>,
    /// Cancelled when a stop was asked for.
    pub stop: CancellationToken,
}

/// `/health/live` and `/health/ready`.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Health: FromRef<S>,
{
    Router::new()
        .route(
            "/health/live",
            get(|| async { Json(json!({ "status": "ok" })) }),
        )
        .route("/health/ready", get(ready))
}

async fn ready(State(health): State<Health>) -> Response {
    if health.stop.is_cancelled() {
        return problem_with_message(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping");
    }
    let mongodb = health.db.is_prepared() && health.db.ping(PING_TIMEOUT).await.is_ok();
    let nats = health
        .nats
        .map(|nats| nats.connection_state() == Connection::Connected);
    if !mongodb {
        return problem_with_message(StatusCode::SERVICE_UNAVAILABLE, "MongoDB is down");
    }
    let mut body = json!({ "status": "ok", "mongodb": "up" });
    if let Some(is_up) = nats {
        body["nats"] = json!(if is_up { "up" } else { "down" });
    }
    Json(body).into_response()
}
