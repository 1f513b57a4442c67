//! The listener for those who run the service: `/metrics`. It is never on the public port.

use std::time::{Duration, SystemTime};

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use mongodb::error::Result as MongoResult;

use crate::{
    db::Db,
    metrics::{HAS_PUBLISHER, OLDEST_UNSENT, PARKED, STATUS_READ, UNSENT},
    outbox::operator,
};

/// How often the outbox's figures are read, whoever scrapes.
const READ_INTERVAL: Duration = Duration::from_secs(5);
const READ_LIMIT: Duration = Duration::from_secs(5);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn routes(metrics: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(move || render(metrics)))
}

async fn render(metrics: PrometheusHandle) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], metrics.render()).into_response()
}

/// Keeps the figures fresh that the database knows, for ever.
pub(crate) async fn read_figures(db: Db, metrics: PrometheusHandle) {
    let mut interval = tokio::time::interval(READ_INTERVAL);
    loop {
        interval.tick().await;
        // Else what is observed is kept until somebody scrapes.
        metrics.run_upkeep();
        if let Err(error) = read(&db).await {
            tracing::debug!(%error, "cannot read the outbox's figures");
        }
    }
}

async fn read(db: &Db) -> MongoResult<()> {
    let asked = db.clone();
    let status = db
        .bounded(
            READ_LIMIT,
            async move { operator::sampled_status(&asked).await },
        )
        .await?;
    gauge!(UNSENT).set(status.unsent as f64);
    gauge!(OLDEST_UNSENT).set(status.oldest_waiting_seconds.unwrap_or(0.0));
    gauge!(PARKED).set(status.parked as f64);
    gauge!(HAS_PUBLISHER).set(if status.publisher.is_some() { 1.0 } else { 0.0 });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    gauge!(STATUS_READ).set(now.unwrap_or_default().as_secs_f64());
    Ok(())
}
