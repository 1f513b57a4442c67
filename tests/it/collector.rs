//! A collector of traces, and the program with its traces and its log.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message;
use serde_json::{Value, json};
use testbed::{Process, eventually, free_port};
use tokio::net::TcpListener;

use crate::{
    harness::{Place, token},
    process::command,
};

/// What a collector received.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) spans: Vec<Span>,
    /// Of the service that sent them.
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) headers: HeaderMap,
}

/// A collector; its address, and what it received last.
pub(crate) async fn collector() -> (String, Arc<Mutex<Received>>) {
    let received = Arc::<Mutex<Received>>::default();
    let receive =
        async |State(received): State<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let mut received = received.lock().unwrap();
            received.headers = headers;
            for resource in request.resource_spans {
                received.attributes = resource.resource.unwrap().attributes;
                let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
                received.spans.extend(spans);
            }
        };
    let routes = Router::new()
        .route("/v1/traces", post(receive))
        .with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, received)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn value(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|it| it.key == key);
    match found.and_then(|it| it.value.clone()?.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

pub(crate) fn attribute(span: &Span, key: &str) -> String {
    value(&span.attributes, key)
}

/// The program, and where it listens.
pub(crate) struct Traced {
    process: Process,
    pub(crate) address: String,
}

impl Traced {
    pub(crate) async fn start(place: &Place, variables: &[(&str, &str)]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let process = Process::logged(
            command(place)
                .env("STOP_DELAY", "0s")
                .env("LOG_FORMAT", "json")
                .env("LISTEN_ADDR", &address)
                .envs(variables.iter().copied()),
        );
        let ready = format!("http://{address}/health/ready");
        eventually("ready", async || {
            testbed::client()
                .get(&ready)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        Self { process, address }
    }

    /// Creates a ticket; the answer's status.
    pub(crate) async fn post(&self, traceparent: Option<&str>) -> u16 {
        let mut post = testbed::client()
            .post(format!("http://{}/api/tickets", self.address))
            .bearer_auth(token("alice"))
            .header("x-request-id", "a-request");
        if let Some(traceparent) = traceparent {
            post = post.header("traceparent", traceparent);
        }
        let post = post.json(&json!({ "title": "concert", "price": 1 }));
        post.send().await.unwrap().status().as_u16()
    }

    /// All that it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Stops it: its exit code, and every line of its log.
    pub(crate) async fn stop(mut self) -> (Option<i32>, Vec<Value>) {
        self.process.signal("-TERM");
        let code = self.process.ended().await.code();
        let log = self.process.log();
        // The driver's `ConnectionRequester` panics when the runtime ends beneath it; what that prints is no line of ours.
        let ours = log.lines().filter(|line| line.starts_with('{'));
        let lines = ours.map(|line| serde_json::from_str(line).unwrap());
        (code, lines.collect())
    }
}

pub(crate) fn line<'log>(log: &'log [Value], message: &str) -> &'log Value {
    let found = log.iter().find(|line| line["message"] == message);
    found.unwrap_or_else(|| panic!("no line {message}: {log:#?}"))
}
