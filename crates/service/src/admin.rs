//! The listener for those who run the service: `/metrics`, and a live page at `/`. It is never on the public port.

mod access;
mod asides;
mod live;
mod page;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response, Sse},
    routing::{get, post},
};
use db::Db;
use messaging::{EventType, Inbox, JetStream, Outbox, Recent};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use tokio_util::sync::CancellationToken;
use web::Closing;

use crate::{About, Timing, metrics::install};
use access::{Access, Refused};
use asides::Asides;
use live::Live;

pub use live::MOST_VIEWERS;

/// The pause between two readings of the outbox's figures, however often they are scraped.
pub const READ_INTERVAL: Duration = Duration::from_secs(5);
/// A long backlog takes longer to read. The pause after it is this many times as long, up to [`LONGEST_PAUSE`].
const READ_SHARE: u32 = 20;
/// Keep it below the threshold of the alert `OutboxFiguresAreStale`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Each sample of a histogram lies in memory until it is counted, and a backlog that is published is tens of thousands in a second.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// In bytes: what an operator decides is short.
const BODY_LIMIT: usize = 16 * 1024;

/// The listener for those who run the service.
pub struct Admin {
    /// Bound already.
    pub listener: TcpListener,
    /// Who knows it sees more than figures. Without one, everybody does where the address is loopback, and nobody else.
    pub token: Option<SecretString>,
    /// Names that the page is asked for by, besides `localhost` and numbers.
    pub hosts: Vec<String>,
}

/// What the listener tells of.
pub(crate) struct Sources {
    pub(crate) about: About,
    pub(crate) db: Db,
    pub(crate) consumers: Vec<&'static str>,
    pub(crate) events: &'static [EventType],
    /// `None` where this process does not publish.
    pub(crate) publishes_to: Option<JetStream>,
    /// `None` where it neither publishes nor consumes.
    pub(crate) nats: Option<JetStream>,
    pub(crate) recent: Recent,
}

#[derive(Clone)]
struct Page {
    access: Access,
    live: Arc<Live>,
    asides: Arc<Asides>,
}

impl FromRef<Page> for Access {
    fn from_ref(page: &Page) -> Self {
        page.access.clone()
    }
}

impl FromRef<Page> for Arc<Asides> {
    fn from_ref(page: &Page) -> Self {
        Arc::clone(&page.asides)
    }
}

/// Serves, and keeps the figures fresh that the database knows, for ever. Viewers of the page are told of `stop`.
///
/// # Errors
/// When metrics are not collected.
pub(crate) async fn serve(
    admin: Admin,
    sources: Sources,
    timing: Timing,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = install()?;
    let (about, db) = (sources.about, sources.db.clone());
    gauge!("build_info", "service" => about.name, "version" => about.version).set(1.0);
    let address = admin.listener.local_addr()?;
    tracing::info!(
        metrics = format!("http://{address}/metrics"),
        "for those who run the service; the live page is at /"
    );
    let page = Page {
        access: Access::new(address, admin.token, admin.hosts),
        asides: Arc::new(Asides::new(&sources)),
        live: Arc::new(Live::new(sources, timing.live, stop)),
    };
    let live = Arc::clone(&page.live);
    let routes = Router::new().route("/metrics", get(move || render(metrics.clone())));
    let routes = routes.merge(page_of(page));
    let (outbox, inbox) = (Outbox::new(&db), Inbox::new(&db));
    let read = || async {
        let status = messaging::read_figures(&outbox).await;
        let aside = messaging::read_inbox_figures(&inbox, &live.consumers).await;
        let is_read = status.is_some() && aside.is_some();
        live.has_read(status, aside);
        is_read
    };
    tokio::select! {
        () = read_for_ever(read) => {}
        () = count_for_ever(|| metrics.run_upkeep()) => {}
        () = live.tell() => {}
        () = web::serve(admin.listener, routes, timing.http, Closing::default()) => {}
    }
    Ok(())
}

fn page_of(page: Page) -> Router {
    let from_here = middleware::from_fn_with_state(page.access.clone(), access::only_from_here);
    Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::script))
        .route("/live.js", get(page::script_of_live))
        .route("/asides.js", get(page::script_of_asides))
        .route("/icon.svg", get(page::icon))
        .route("/live", get(view))
        .route("/aside", get(asides::list))
        .route("/payload", get(asides::payload))
        .route("/retry", post(asides::retry))
        .route("/skip", post(asides::skip))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_here)
        .layer(middleware::from_fn(page::with_headers))
        .with_state(page)
}

/// The page's events: figures for everybody; what was published and applied for those who may see it.
async fn view(State(page): State<Page>, headers: HeaderMap) -> Response {
    let let_in = page.access.let_in(&headers);
    if let Err(refused @ Refused::WrongToken) = let_in {
        return refused.into_response();
    }
    let Some(events) = page.live.view(let_in.err()) else {
        let again = [(header::RETRY_AFTER, HeaderValue::from_static("10"))];
        let text = format!("all {MOST_VIEWERS} places for viewers are taken");
        return (StatusCode::SERVICE_UNAVAILABLE, again, text).into_response();
    };
    Sse::new(events).into_response()
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

async fn count_for_ever(count: impl Fn()) {
    loop {
        sleep(COUNT_INTERVAL).await;
        count();
    }
}

fn pause_after(reading: Duration) -> Duration {
    (reading * READ_SHARE).clamp(READ_INTERVAL, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

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

    #[tokio::test(start_paused = true)]
    async fn samples_are_counted_every_second() {
        let counted = Cell::new(0);
        let counts = count_for_ever(|| counted.set(counted.get() + 1));
        let ten_seconds = Duration::from_millis(10_500);
        timeout(ten_seconds, counts).await.unwrap_err();
        assert_eq!(counted.get(), 10);
    }
}
