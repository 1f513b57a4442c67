//! A collector that goes and comes: one line each time, with its address and the cause, whatever it does instead of taking spans.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use serde_json::Value;
use testbed::{eventually, free_port};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    collector::Traced,
    harness::Place,
    traces::{COLLECTOR, TRACED},
};

const AWAY: &str = "the collector takes no traces; spans are lost";
const BACK: &str = "the collector takes traces again";
/// What answers no request, and holds on to it.
const NEVER: u16 = 0;
/// What takes a batch but for a span.
const PARTLY: u16 = 1;
/// `ExportTraceServiceResponse { partial_success: { rejected_spans: 1 } }`.
const ONE_REFUSED: [u8; 4] = [0x0a, 2, 0x08, 1];

/// A collector that answers with this status, and how often it was asked.
#[derive(Clone, Default)]
struct Moody {
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Moody {
    async fn listen(&self, port: u16) -> JoinHandle<()> {
        let answer = async |State(this): State<Self>| {
            this.asked.fetch_add(1, Ordering::Relaxed);
            match this.status.load(Ordering::Relaxed) {
                NEVER => std::future::pending().await,
                PARTLY => (StatusCode::OK, Bytes::from_static(&ONE_REFUSED)),
                status => (StatusCode::from_u16(status).unwrap(), Bytes::new()),
            }
        };
        let routes = Router::new()
            .route("/v1/traces", post(answer))
            .with_state(self.clone());
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() })
    }

    /// Several batches are sent, one after the other.
    async fn is_asked_again_and_again(&self, service: &Traced) {
        let before = self.asked.load(Ordering::Relaxed);
        eventually("it is asked again and again", async || {
            assert_eq!(service.post(Some(TRACED)).await, 201);
            self.asked.load(Ordering::Relaxed) >= before + 5
        })
        .await;
    }
}

async fn traced(place: &Place, collector: &str) -> Traced {
    let variables = [
        (COLLECTOR, collector),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
    ];
    Traced::start(place, &variables).await
}

/// Message, address and cause of each line that tells that the collector went or came.
fn told(log: &[Value]) -> Vec<[String; 3]> {
    let is_it = |line: &&Value| line["message"] == AWAY || line["message"] == BACK;
    let text = |line: &Value, field| line[field].as_str().unwrap_or_default().to_owned();
    let fields = |line: &Value| ["message", "address", "error"].map(|field| text(line, field));
    log.iter().filter(is_it).map(fields).collect()
}

#[tokio::test]
async fn a_collector_that_goes_and_comes_is_told_once_each_time_with_address_and_cause() {
    let (moody, place, port) = (Moody::default(), Place::new(), free_port());
    moody.status.store(200, Ordering::Relaxed);
    let mut listening = moody.listen(port).await;
    let address = format!("127.0.0.1:{port}");
    let service = traced(&place, &format!("http://{address}")).await;
    moody.is_asked_again_and_again(&service).await;
    for status in [400, 200, 503, 200, NEVER, 200] {
        moody.status.store(status, Ordering::Relaxed);
        moody.is_asked_again_and_again(&service).await;
    }
    // Nobody listens, then somebody does again.
    listening.abort();
    drop(listening.await);
    let gone = format!("{AWAY}\",\"address\":\"{address}\",\"error\":\"Connection refused");
    eventually("it is gone", async || {
        assert_eq!(service.post(Some(TRACED)).await, 201);
        service.log().contains(&gone)
    })
    .await;
    listening = moody.listen(port).await;
    moody.is_asked_again_and_again(&service).await;
    place.drained().await;
    let (code, log) = service.stop().await;
    listening.abort();
    assert_eq!(code, Some(0));

    let told = told(&log);
    let causes: Vec<&str> = told
        .iter()
        .map(|[message, _, cause]| if message == BACK { "" } else { cause })
        .collect();
    let refused = "Connection refused (os error 111)";
    let expected = [
        "it answers 400",
        "",
        "it answers 503",
        "",
        "it takes connections and does not answer",
        "",
        refused,
        "",
    ];
    assert_eq!(causes, expected);
    assert!(told.iter().all(|[_, at, _]| *at == address), "{told:?}");
    let own = log
        .iter()
        .find(|line| line["target"].to_string().contains("opentelemetry"));
    assert_eq!(own, None);
    place.remove().await;
}

#[tokio::test]
async fn a_collector_that_never_was_one_is_told_once() {
    let port = free_port();
    for (collector, address, cause) in [
        (
            format!("http://127.0.0.1:{port}/s3cret"),
            format!("127.0.0.1:{port}"),
            "Connection refused",
        ),
        (
            "http://no-such-name.invalid:4318".to_owned(),
            "no-such-name.invalid:4318".to_owned(),
            "its name is not found",
        ),
    ] {
        let place = Place::new();
        let service = traced(&place, &collector).await;
        eventually("it is told", async || {
            assert_eq!(service.post(Some(TRACED)).await, 201);
            service.log().contains(AWAY)
        })
        .await;
        for _ in 0..20 {
            assert_eq!(service.post(Some(TRACED)).await, 201);
        }
        place.drained().await;
        let (code, log) = service.stop().await;
        assert_eq!(code, Some(0));
        let told = told(&log);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0][1], address);
        assert!(told[0][2].starts_with(cause), "{told:?}");
        assert!(!format!("{log:?}").contains("s3cret"));
        place.remove().await;
    }
}

#[tokio::test]
async fn a_collector_that_refuses_spans_of_each_batch_is_told_once_a_minute() {
    let (moody, place, port) = (Moody::default(), Place::new(), free_port());
    moody.status.store(PARTLY, Ordering::Relaxed);
    let listening = moody.listen(port).await;
    let service = traced(&place, &format!("http://127.0.0.1:{port}")).await;
    moody.is_asked_again_and_again(&service).await;
    place.drained().await;
    let (_, log) = service.stop().await;
    listening.abort();
    assert!(told(&log).is_empty());
    let own = |line: &&Value| line["target"].to_string().contains("opentelemetry");
    let own: Vec<_> = log.iter().filter(own).collect();
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!(own[0]["rejected_spans"], 1);
    place.remove().await;
}
