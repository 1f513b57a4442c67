//! The span of a request: of its trace, where it comes with one, and named as OpenTelemetry's conventions have it.

use std::time::Duration;

use axum::{
    extract::{MatchedPath, Request},
    response::Response,
};
use tower_http::request_id::RequestId;
use tracing::{Span, field::Empty};

use super::{metrics::known, trace_context};
use crate::telemetry;

/// Of the highest level, so that whatever is logged has its ids with it.
pub(super) fn span<B>(request: &Request<B>) -> Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str);
    let span = tracing::error_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        request.id = id,
        trace.id = Empty,
        http.request.method = method,
        http.route = route,
        url.path = request.uri().path(),
        http.response.status_code = Empty,
    );
    let incoming = trace_context::incoming(request.headers());
    if let Some(traceparent) = incoming {
        telemetry::continue_trace(&span, traceparent);
    }
    let traceparent = telemetry::traceparent(&span).or_else(|| incoming.map(str::to_owned));
    if let Some(trace) = traceparent.as_deref().and_then(|it| it.split('-').nth(1)) {
        span.record("trace.id", trace);
    }
    span
}

pub(super) fn answered<B>(answer: &Response<B>, took: Duration, span: &Span) {
    let status = answer.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    tracing::debug!(?took, "answered");
}
