//! The listener for those who run the service: `/metrics`. It is never on the public port.

use std::time::{Duration, Instant, SystemTime};

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use mongodb::error::Result as MongoResult;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    db::Db,
    http::{self, Timeouts},
    metrics::{HAS_PUBLISHER, OLDEST_UNSENT, PARKED, STATUS_READ, UNSENT, install},
    outbox::operator,
};

/// The pause between two readings of the outbox's figures, however often they are scraped.
pub const READ_INTERVAL: Duration = Duration::from_secs(5);
/// A long backlog takes longer to read. The pause after it is this many times as long, so that reading takes a twentieth of
/// the time at most.
const READ_SHARE: u32 = 20;
/// The longest pause. Keep it below the threshold of the alert `OutboxFiguresAreStale`.
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
            pause = pause_after(began.elapsed());
        }
        // Else what is observed is kept until somebody scrapes.
        metrics.run_upkeep();
        tokio::time::sleep(pause).await;
    }
}

fn pause_after(reading: Duration) -> Duration {
    (reading * READ_SHARE).clamp(READ_INTERVAL, LONGEST_PAUSE)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_every_five_seconds_and_the_less_often_the_longer_that_takes() {
        let pause_after_ms = |ms| pause_after(Duration::from_millis(ms)).as_secs();
        assert_eq!([0, 250, 500, 1_000].map(pause_after_ms), [5, 5, 10, 20]);
        // Alerts take figures of a minute ago for stale.
        assert_eq!(pause_after_ms(10_000), 30);
    }
}
