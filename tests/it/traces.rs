//! One trace from the request over the outbox to the message, as a collector receives it.

use std::{
    io::Read,
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    harness::{Place, eventually, token},
    process::command,
    servers::{Process, free_port},
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

#[tokio::test]
async fn a_trace_goes_on_from_the_request_through_the_outbox_to_the_message_and_the_log() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";
    let (collector, spans) = collector().await;
    let place = Place::new();
    let address = format!("127.0.0.1:{}", free_port());
    let mut process = Process::spawn(
        command(&place)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .env("LOG_FORMAT", "json")
            .env("LISTEN_ADDR", &address)
            .stderr(Stdio::piped()),
    );
    let mut stderr = process.child().stderr.take().unwrap();
    let log = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    let ready = format!("http://{address}/health/ready");
    eventually("ready", async || {
        reqwest::get(&ready)
            .await
            .is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let created = reqwest::Client::new()
        .post(format!("http://{address}/api/tickets"))
        .bearer_auth(token("alice"))
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("x-request-id", "a-request")
        .json(&json!({ "title": "concert", "price": 1 }))
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    place.drained().await;
    process.signal("-TERM");
    let log = log.await.unwrap();

    let spans = spans.lock().unwrap().clone();
    let request = spans
        .iter()
        .find(|span| span.name == "request" && hex(&span.trace_id) == TRACE)
        .unwrap();
    assert_eq!(hex(&request.parent_span_id), PARENT);
    let publish = spans.iter().find(|span| span.name == "publish").unwrap();
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

    let line = log
        .lines()
        .find(|line| line.contains("ticket created"))
        .unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["span"]["trace.id"], TRACE);
    assert_eq!(line["span"]["request.id"], "a-request");
    place.remove().await;
}
