//! One trace from the request over the outbox to the message, as a collector receives it.

use std::time::{Duration, Instant};

use bson::doc;
use futures_util::{StreamExt, stream};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::Value;
use service::FLUSH_LIMIT;
use testbed::{eventually, free_port};
use tokio::net::TcpListener;

use crate::{
    collector::{Traced, attribute, collector, hex, line, value},
    harness::Place,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
pub(crate) const TRACED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_TRACED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
pub(crate) const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[tokio::test]
async fn a_trace_goes_on_from_the_request_through_the_outbox_to_the_message_and_the_log() {
    let (collector, received) = collector().await;
    let place = Place::new();
    let service = Traced::start(&place, &[(COLLECTOR, &collector)]).await;
    assert_eq!(service.post(Some(TRACED)).await, 201);
    place.drained().await;
    let (code, log) = service.stop().await;
    assert_eq!(code, Some(0));

    let spans = received.lock().unwrap().spans.clone();
    let request = spans
        .iter()
        .find(|span| span.name == "POST /api/tickets" && hex(&span.trace_id) == TRACE)
        .unwrap();
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(attribute(request, "http.request.method"), "POST");
    assert_eq!(attribute(request, "http.route"), "/api/tickets");
    assert_eq!(attribute(request, "http.response.status_code"), "201");
    assert_eq!(attribute(request, "url.scheme"), "http");
    assert_eq!(attribute(request, "url.path"), "/api/tickets");
    assert_eq!(attribute(request, "server.address"), "127.0.0.1");
    assert_eq!(attribute(request, "network.protocol.version"), "1.1");
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
    let created = line(&log, "ticket created");
    assert_eq!(created["span"]["trace.id"], TRACE);
    assert_eq!(created["span"]["request.id"], "a-request");
    place.remove().await;
}

#[tokio::test]
async fn what_is_logged_has_its_ids_and_what_is_traced_is_traced_at_any_level_of_the_log() {
    let (collector, received) = collector().await;
    let place = Place::new();
    let variables = [(COLLECTOR, collector.as_str()), ("RUST_LOG", "error")];
    let service = Traced::start(&place, &variables).await;
    // The server refuses every ticket, so that the request fails.
    let refuse = doc! { "collMod": "tickets", "validator": { "impossible": true } };
    place.database().await.run_command(refuse).await.unwrap();
    assert_eq!(service.post(Some(TRACED)).await, 500);
    let (_, log) = service.stop().await;
    let failed = line(&log, "request failed");
    assert_eq!(failed["span"]["trace.id"], TRACE);
    assert_eq!(failed["span"]["request.id"], "a-request");
    let spans = received.lock().unwrap().spans.clone();
    let request = spans.iter().find(|span| hex(&span.trace_id) == TRACE);
    let status = request.unwrap().status.as_ref().unwrap();
    assert_eq!(status.code(), StatusCode::Error);
    place.remove().await;
}

#[tokio::test]
async fn without_a_collector_the_log_has_the_trace_that_a_request_came_with_if_it_is_one() {
    let place = Place::new();
    let service = Traced::start(&place, &[]).await;
    let invalid = [
        "nonsense".to_owned(),
        TRACED.to_uppercase(),
        TRACED.replace(TRACE, &"0".repeat(32)),
        TRACED.replace(PARENT, &"0".repeat(16)),
        TRACED.replace("00-", "ff-"),
        format!("{TRACED}-00"),
    ];
    for traceparent in &invalid {
        assert_eq!(service.post(Some(traceparent)).await, 201);
    }
    assert_eq!(service.post(Some(TRACED)).await, 201);
    place.drained().await;
    let (_, log) = service.stop().await;
    let created = log
        .iter()
        .filter(|line| line["message"] == "ticket created");
    let traces: Vec<&Value> = created.map(|line| &line["span"]["trace.id"]).collect();
    assert_eq!(traces.len(), invalid.len() + 1);
    let (last, others) = traces.split_last().unwrap();
    assert_eq!(*last, TRACE);
    assert!(others.iter().all(|trace| trace.is_null()), "{others:?}");
    let stored = place.events().await;
    let stored = stored
        .iter()
        .filter(|event| event.get_str("traceparent").is_ok());
    assert_eq!(stored.count(), 1);
    place.remove().await;
}

#[tokio::test]
async fn a_request_whose_caller_does_not_trace_it_is_not_traced_and_nor_is_its_event() {
    let (collector, received) = collector().await;
    let place = Place::new();
    let service = Traced::start(&place, &[(COLLECTOR, &collector)]).await;
    assert_eq!(service.post(Some(NOT_TRACED)).await, 201);
    place.drained().await;
    service.stop().await;
    let spans = received.lock().unwrap().spans.clone();
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

#[tokio::test]
async fn opentelemetrys_variables_for_sampler_resource_headers_and_batches_are_heeded() {
    let (collector, received) = collector().await;
    let place = Place::new();
    let variables = [
        (COLLECTOR, collector.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=try",
        ),
        ("OTEL_SERVICE_NAME", "tickets-of-a-try"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let service = Traced::start(&place, &variables).await;
    assert_eq!(service.post(None).await, 201);
    assert_eq!(service.post(Some(TRACED)).await, 201);
    place.drained().await;
    // While it runs: the batch did not wait for its end.
    eventually("request and publication are traced", async || {
        received.lock().unwrap().spans.len() == 2
    })
    .await;
    service.stop().await;
    let received = std::mem::take(&mut *received.lock().unwrap());
    let spans = &received.spans;
    let request = spans.iter().find(|span| hex(&span.trace_id) == TRACE);
    assert_eq!(request.unwrap().name, "POST /api/tickets");
    assert_eq!(spans.len(), 2, "{spans:?}");
    let of_service = |key| value(&received.attributes, key);
    assert_eq!(of_service("deployment.environment.name"), "try");
    assert_eq!(of_service("service.name"), "tickets-of-a-try");
    assert_eq!(of_service("service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(received.headers["x-tenant"], "ours");
    place.remove().await;
}

#[tokio::test]
async fn as_many_spans_wait_in_memory_for_a_silent_collector_as_operations_tells() {
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let operations = std::fs::read_to_string(operations).unwrap();
    let (_, told) = operations.split_once("Spans wait in memory, ").unwrap();
    let told = told.split(' ').next().unwrap().replace(',', "");
    let most: u64 = told.parse().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}", silent.local_addr().unwrap());
    let place = Place::new();
    let variables = [
        (COLLECTOR, collector.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        // The one span that is being sent does not wait any more.
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
    ];
    let service = Traced::start(&place, &variables).await;
    let list = format!("http://{}/api/tickets?limit=1", service.address);
    let client = testbed::client();
    let sent = most + 20;
    let ask = async |_| {
        let ask = client.get(&list).header("traceparent", TRACED);
        ask.send().await.unwrap().status()
    };
    let answers: Vec<_> = stream::iter(0..sent)
        .map(ask)
        .buffer_unordered(8)
        .collect()
        .await;
    assert!(answers.iter().all(|status| *status == 200));
    let (_, log) = service.stop().await;
    let dropped = log.iter().find_map(|it| it["dropped_span_count"].as_u64());
    assert_eq!(sent - 1 - dropped.unwrap(), most);
    place.remove().await;
}

#[tokio::test]
async fn a_collector_that_refuses_or_never_answers_costs_spans_and_a_line_but_no_request() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = [free_port(), silent.local_addr().unwrap().port()];
    let tried = ports.map(async |port| {
        let place = Place::new();
        let collector = format!("http://127.0.0.1:{port}");
        let variables = [
            (COLLECTOR, collector.as_str()),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ];
        let service = Traced::start(&place, &variables).await;
        for _ in 0..20 {
            assert_eq!(service.post(Some(TRACED)).await, 201);
        }
        place.drained().await;
        let asked = Instant::now();
        let (code, log) = service.stop().await;
        assert_eq!(code, Some(0));
        assert!(asked.elapsed() < FLUSH_LIMIT + Duration::from_secs(5));
        let told = |line: &Value| {
            let by_exporter = line["target"].to_string().contains("opentelemetry");
            by_exporter || line["message"] == "some traces were not sent"
        };
        assert!(log.iter().any(told), "{log:?}");
        place.remove().await;
    });
    futures_util::future::join_all(tried).await;
}
