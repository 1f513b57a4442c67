//! Liveness and readiness. NATS being down is told but is no reason to be taken out: writes work.

use std::time::Duration;

use async_nats::connection::State as Connection;
use axum::{
    Json,
    extract::{FromRef, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

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
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Health: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
}

/// Whether the process lives
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It does.", body = Value)))]
async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether it takes requests
///
/// Without NATS it does: events wait in the database.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses((status = 200, description = "It does.", body = Value)))]
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
