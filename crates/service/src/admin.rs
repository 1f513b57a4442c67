//! The listener for those who run the service: `/metrics`. It is never on the public port.

use std::time::Duration;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use messaging::{Inbox, Outbox};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use web::{Closing, Timing};

use crate::{About, metrics::install};

/// The pause between two readings of the outbox's figures, however often they are scraped.
pub const READ_INTERVAL: Duration = Duration::from_secs(5);
/// A long backlog takes longer to read. The pause after it is this many times as long, up to [`LONGEST_PAUSE`].
const READ_SHARE: u32 = 20;
/// Keep it below the threshold of the alert `OutboxFiguresAreStale`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves, and keeps the figures fresh that the database knows, for ever.
///
/// # Errors
/// When metrics are not collected.
pub(crate) async fn serve(
    listener: TcpListener,
    about: About,
    (outbox, inbox, consumers): (Outbox, Inbox, Vec<&'static str>),
    timing: Timing,
) -> anyhow::Result<()> {
    let metrics = install()?;
    gauge!("build_info", "service" => about.name, "version" => about.version).set(1.0);
    let url = format!("http://{}/metrics", listener.local_addr()?);
    tracing::info!(metrics = url, "for those who run the service");
    let routes = Router::new().route("/metrics", get(move || render(metrics.clone())));
    let read = || async {
        let mut is_read = messaging::read_figures(&outbox).await;
        is_read &= messaging::read_inbox_figures(&inbox, &consumers).await;
        // Else what is observed is kept until somebody scrapes.
        metrics.run_upkeep();
        is_read
    };
    tokio::select! {
        () = read_for_ever(read) => {}
        () = web::serve(listener, routes, timing, Closing::default()) => {}
    }
    Ok(())
}

async fn render(metrics: PrometheusHandle) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], metrics.render()).into_response()
}

/// `read` tells whether it could.
async fn read_for_ever<F: Future<Output = bool>>(read: impl Fn() -> F) {
    loop {
        let began = Instant::now();
        let mut pause = READ_INTERVAL;
        if read().await {
            pause = pause_after(began.elapsed());
        }
        sleep(pause).await;
    }
}

fn pause_after(reading: Duration) -> Duration {
    (reading * READ_SHARE).clamp(READ_INTERVAL, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn figures_are_read_every_five_seconds_and_the_less_often_the_longer_that_takes() {
        let pause_after_ms = |ms| pause_after(Duration::from_millis(ms)).as_secs();
        assert_eq!([0, 250, 500, 1_000].map(pause_after_ms), [5, 5, 10, 20]);
        // Alerts take figures of a minute ago for stale.
        assert_eq!(pause_after_ms(10_000), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn readings_of_a_second_begin_every_21_seconds_and_those_that_fail_every_six() {
        for (is_read, begin) in [(true, [0, 21, 42, 63]), (false, [0, 6, 12, 18])] {
            let (began, begun) = (Instant::now(), RefCell::new(Vec::new()));
            let read = || async {
                begun.borrow_mut().push(began.elapsed().as_secs());
                sleep(Duration::from_secs(1)).await;
                is_read
            };
            let readings = timeout(Duration::from_secs(70), read_for_ever(read));
            readings.await.unwrap_err();
            assert_eq!(begun.borrow()[..4], begin);
        }
    }
}
