//! The listener for those who run the service: `/metrics`. It is never on the public port.

use std::time::{Duration, Instant, SystemTime};

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use db::Db;
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use mongodb::error::Result as MongoResult;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{self, Timeouts},
    metrics::{HAS_PUBLISHER, OLDEST_UNSENT, PARKED, STATUS_READ, UNSENT, install},
    outbox::operator,
};

/// How often the outbox's figures are read, whoever scrapes.
const READ_INTERVAL: Duration = Duration::from_secs(5);
/// A long backlog takes longer to read: it is paused for so many times as long.
const READ_SHARE: u32 = 20;
/// Less than after which the figures are called stale.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves, and keeps the figures fresh that the database knows, for ever.
///
/// # Errors
/// When metrics are not collected.
pub(crate) async fn serve(listener: TcpListener, db: Db) -> anyhow::Result<()> {
    let metrics = install()?;
    let url = format!("http://{}/metrics", listener.local_addr()?);
    tracing::info!(metrics = url, "for those who run the service");
    let routes = Router::new().route("/metrics", get(move || render(metrics.clone())));
    let for_ever = CancellationToken::new();
    tokio::select! {
        () = read_figures(db, metrics) => {}
        () = http::serve(listener, routes, Timeouts::default(), for_ever) => {}
    }
    Ok(())
}

async fn render(metrics: PrometheusHandle) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], metrics.render()).into_response()
}

async fn read_figures(db: Db, metrics: &PrometheusHandle) {
    loop {
        let began = Instant::now();
        let mut pause = READ_INTERVAL;
        if let Err(error) = read(&db).await {
            tracing::debug!(%error, "cannot read the outbox's figures");
            // Figures of another time would speak against those of the instances that read them.
            for figure in [UNSENT, OLDEST_UNSENT, PARKED, HAS_PUBLISHER] {
                gauge!(figure).set(f64::NAN);
            }
        } else {
            pause = (began.elapsed() * READ_SHARE).clamp(READ_INTERVAL, LONGEST_PAUSE);
        }
        // Else what is observed is kept until somebody scrapes.
        metrics.run_upkeep();
        tokio::time::sleep(pause).await;
    }
}

async fn read(db: &Db) -> MongoResult<()> {
    let status = operator::sampled_status(db).await?;
    gauge!(UNSENT).set(status.unsent as f64);
    gauge!(OLDEST_UNSENT).set(status.oldest_waiting_seconds.unwrap_or(0.0));
    gauge!(PARKED).set(status.parked as f64);
    gauge!(HAS_PUBLISHER).set(if status.publisher.is_some() { 1.0 } else { 0.0 });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    gauge!(STATUS_READ).set(now.unwrap_or_default().as_secs_f64());
    Ok(())
}
