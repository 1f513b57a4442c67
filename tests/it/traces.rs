//! One trace from the request over the outbox to the message, as a collector receives it.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    harness::{Place, eventually, nats_url, token},
    process::command,
    servers::{Mongo, Process, free_port},
};

type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector; its address, and what it received.
async fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let receive = async |State(spans): State<Spans>, body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans);
        spans
            .lock()
            .unwrap()
            .extend(scopes.flat_map(|scope| scope.spans));
    };
    let routes = Router::new()
        .route("/v1/traces", post(receive))
        .with_state(Arc::clone(&spans));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, spans)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|it| it.key == key);
    match found.and_then(|it| it.value.clone()?.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{key}: {other:?} in {span:?}"),
    }
}

/// The program, with its traces sent to `collector`.
struct Traced {
    process: Process,
    address: String,
}

impl Traced {
    async fn start(place: &Place, collector: &str, level: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let process = Process::logged(
            command(place)
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
                .env("RUST_LOG", level)
                .env("LOG_FORMAT", "json")
                .env("LISTEN_ADDR", &address),
        );
        let ready = format!("http://{address}/health/ready");
        eventually("ready", async || {
            reqwest::get(&ready)
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        Self { process, address }
    }

    async fn post(&self, traceparent: &str, body: Value) -> u16 {
        let post = reqwest::Client::new()
            .post(format!("http://{}/api/tickets", self.address))
            .bearer_auth(token("alice"))
            .header("traceparent", traceparent)
            .header("x-request-id", "a-request");
        post.json(&body).send().await.unwrap().status().as_u16()
    }

    /// Stops it: its exit code, and every line of its log.
    async fn stop(self) -> (Option<i32>, Vec<Value>) {
        let mut process = self.process;
        process.signal("-TERM");
        let end = move || (process.child().wait().unwrap().code(), process.log());
        let (code, log) = tokio::task::spawn_blocking(end).await.unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        (code, lines.collect())
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_trace_goes_on_from_the_request_through_the_outbox_to_the_message_and_the_log() {
    let (collector, spans) = collector().await;
    let place = Place::new();
    let service = Traced::start(&place, &collector, "info").await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let body = json!({ "title": "concert", "price": 1 });
    assert_eq!(service.post(&traceparent, body).await, 201);
    place.drained().await;
    let (code, log) = service.stop().await;
    assert_eq!(code, Some(0));

    let spans = spans.lock().unwrap().clone();
    let request = spans
        .iter()
        .find(|span| span.name == "POST /api/tickets" && hex(&span.trace_id) == TRACE)
        .unwrap();
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(attribute(request, "http.request.method"), "POST");
    assert_eq!(attribute(request, "http.route"), "/api/tickets");
    assert_eq!(attribute(request, "http.response.status_code"), "201");
    let publish = spans
        .iter()
        .find(|span| span.name == "publish ticket.created")
        .unwrap();
    assert_eq!(publish.kind(), SpanKind::Producer);
    assert_eq!(attribute(publish, "messaging.system"), "nats");
    assert_eq!(publish.links.len(), 1);
    assert_eq!(publish.links[0].trace_id, request.trace_id);
    assert_eq!(publish.links[0].span_id, request.span_id);
    let traceparent = format!("00-{TRACE}-{}-01", hex(&request.span_id));
    assert_eq!(
        place.events().await[0].get_str("traceparent").unwrap(),
        traceparent
    );
    let messages = place.messages().await;
    assert_eq!(
        messages[0].headers.get("traceparent").unwrap().as_str(),
        traceparent
    );
    let created = log.iter().find(|line| line["message"] == "ticket created");
    assert_eq!(created.unwrap()["span"]["trace.id"], TRACE);
    assert_eq!(created.unwrap()["span"]["request.id"], "a-request");
    place.remove().await;
}

#[tokio::test]
async fn what_is_logged_has_its_ids_and_what_is_traced_is_traced_at_any_level_of_the_log() {
    let (collector, spans) = collector().await;
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let service = Traced::start(&place, &collector, "error").await;
    mongo.kill();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let body = json!({ "title": "concert", "price": 1 });
    assert_eq!(service.post(&traceparent, body).await, 503);
    let (_, log) = service.stop().await;
    let failed = log.iter().find(|line| line["message"] == "request failed");
    assert_eq!(failed.unwrap()["span"]["trace.id"], TRACE);
    assert_eq!(failed.unwrap()["span"]["request.id"], "a-request");
    let spans = spans.lock().unwrap();
    let request = spans.iter().find(|span| hex(&span.trace_id) == TRACE);
    let status = request.unwrap().status.as_ref().unwrap();
    assert_eq!(status.code(), StatusCode::Error);
}

#[tokio::test]
async fn a_request_whose_caller_does_not_trace_it_is_not_traced_and_nor_is_its_event() {
    let (collector, spans) = collector().await;
    let place = Place::new();
    let service = Traced::start(&place, &collector, "info").await;
    let body = json!({ "title": "concert", "price": 1 });
    let traceparent = format!("00-{TRACE}-{PARENT}-00");
    assert_eq!(service.post(&traceparent, body).await, 201);
    place.drained().await;
    service.stop().await;
    let spans = spans.lock().unwrap().clone();
    assert!(!spans.is_empty(), "those of its health");
    let of_it = |span: &&Span| hex(&span.trace_id) == TRACE || span.name.starts_with("publish");
    assert_eq!(spans.iter().find(of_it), None);
    let messages = place.messages().await;
    let sent = messages[0].headers.get("traceparent").unwrap().as_str();
    assert!(
        sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"),
        "{sent}"
    );
    place.remove().await;
}

/// One that refuses, and one that takes connections and never answers.
#[tokio::test]
async fn a_collector_that_is_away_is_told_of_and_keeps_no_request_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for port in [free_port(), silent.local_addr().unwrap().port()] {
        let place = Place::new();
        let collector = format!("http://127.0.0.1:{port}");
        let service = Traced::start(&place, &collector, "info").await;
        for _ in 0..20 {
            let traceparent = format!("00-{TRACE}-{PARENT}-01");
            let body = json!({ "title": "concert", "price": 1 });
            assert_eq!(service.post(&traceparent, body).await, 201);
        }
        place.drained().await;
        let (code, log) = service.stop().await;
        assert_eq!(code, Some(0));
        let told = |line: &Value| {
            let by_exporter = line["target"].to_string().contains("opentelemetry");
            by_exporter || line["message"] == "some traces were not sent"
        };
        assert!(log.iter().any(told), "{log:?}");
        place.remove().await;
    }
}
