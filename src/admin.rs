//! The listener for those who run the service: `/metrics`. It is never on the public port.

use std::time::{Duration, Instant};

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use messaging::Outbox;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{self, Timeouts},
    metrics::install,
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
pub(crate) async fn serve(listener: TcpListener, outbox: Outbox) -> anyhow::Result<()> {
    let metrics = install()?;
    let url = format!("http://{}/metrics", listener.local_addr()?);
    tracing::info!(metrics = url, "for those who run the service");
    let routes = Router::new().route("/metrics", get(move || render(metrics.clone())));
    let for_ever = CancellationToken::new();
    tokio::select! {
        () = read_figures(outbox, metrics) => {}
        () = http::serve(listener, routes, Timeouts::default(), for_ever) => {}
    }
    Ok(())
}

async fn render(metrics: PrometheusHandle) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], metrics.render()).into_response()
}

async fn read_figures(outbox: Outbox, metrics: &PrometheusHandle) {
    loop {
        let began = Instant::now();
        let mut pause = READ_INTERVAL;
        if messaging::read_figures(&outbox).await {
            pause = (began.elapsed() * READ_SHARE).clamp(READ_INTERVAL, LONGEST_PAUSE);
        }
        // Else what is observed is kept until somebody scrapes.
        metrics.run_upkeep();
        tokio::time::sleep(pause).await;
    }
}
