//! The span of a request: with its ids, for the log, and of its trace, as OpenTelemetry's conventions describe it.

use std::time::Duration;

use axum::{
    extract::{MatchedPath, Request},
    response::Response,
};
use opentelemetry::trace::Status;
use tower_http::request_id::RequestId;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{metrics::known, trace_context};
use crate::telemetry;

/// Of the highest level, so that whatever is logged has its ids with it.
pub(super) fn span<B>(request: &Request<B>) -> Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    let span = tracing::error_span!(
        "request",
        request.id = id,
        trace.id = Empty,
        http.method = known(request.method()),
        http.path = request.uri().path(),
        otel.name = Empty,
        otel.kind = Empty,
    );
    let incoming = trace_context::incoming(request.headers());
    if telemetry::is_tracing() {
        if let Some(traceparent) = incoming {
            telemetry::continue_trace(&span, traceparent);
        }
        describe(&span, request);
    }
    let traceparent = telemetry::traceparent(&span).or_else(|| incoming.map(str::to_owned));
    if let Some(trace) = traceparent.as_deref().and_then(|it| it.split('-').nth(1)) {
        span.record("trace.id", trace);
    }
    span
}

fn describe<B>(span: &Span, request: &Request<B>) {
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
    span.record("otel.name", format!("{method} {route}"));
    span.record("otel.kind", "server");
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.route", route);
    span.set_attribute("url.path", request.uri().path().to_owned());
}

pub(super) fn answered<B>(answer: &Response<B>, took: Duration, span: &Span) {
    let status = answer.status();
    if telemetry::is_tracing() {
        span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
    }
    tracing::debug!(http.status = status.as_u16(), ?took, "answered");
}
