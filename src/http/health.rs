//! Liveness and readiness. NATS being down is told but is no reason to be taken out: writes work.

use std::time::Duration;

use async_nats::connection::State as Connection;
use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::StatusCode,
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;

use crate::db::Db;

const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What readiness is read from.
#[derive(Clone)]
pub struct Health {
    pub db: Db,
    /// `None` where this process does not publish.
    pub nats: Option<async_nats::Client>,
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
            get(|| async { Json(serde_json::json!({ "status": "ok" })) }),
        )
        .route("/health/ready", get(ready))
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    #[derive(Serialize)]
    struct Ready {
        status: &'static str,
        mongodb: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        nats: Option<&'static str>,
    }
    let mongodb = health.db.is_prepared() && health.db.ping(PING_TIMEOUT).await.is_ok();
    let up = |up: bool| if up { "up" } else { "down" };
    let body = Ready {
        status: if mongodb { "ok" } else { "unavailable" },
        mongodb: up(mongodb),
        nats: health
            .nats
            .map(|nats| up(nats.connection_state() == Connection::Connected)),
    };
    (
        if mongodb {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        Json(body),
    )
}
