//! The span of a request: with its ids, for the log, and of its trace, as OpenTelemetry's conventions describe it. The W3C trace
//! context (<https://www.w3.org/TR/trace-context/>) that a request arrives with goes on through the outbox to the consumers.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, request::Parts},
    response::Response,
};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{SpanContext, Status, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tower_http::request_id::RequestId;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::metrics::known;

const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of the request's span where it is traced, else the one that the request came with, where it is valid.
#[derive(Debug, Clone)]
pub struct TraceParent(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for TraceParent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let trace = ours(&Span::current()).or_else(|| valid(&incoming(&parts.headers)));
        Ok(Self(trace.map(|span| {
            let (trace, parent, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
            format!("00-{trace}-{parent}-{:02x}", flags.to_u8())
        })))
    }
}

/// Makes the span of each request: of the highest level, so that whatever is logged has its ids with it. Where there is no
/// collector, nothing is described for one.
pub(crate) fn span<B>(is_traced: bool) -> impl Fn(&Request<B>) -> Span + Clone {
    move |request| {
        let id = request.extensions().get::<RequestId>();
        let id = id.and_then(|id| id.header_value().to_str().ok());
        let method = known(request.method());
        let span = tracing::error_span!(
            "request",
            request.id = id.unwrap_or_default(),
            trace.id = Empty,
            http.method = method,
            http.path = request.uri().path(),
            otel.name = Empty,
            otel.kind = Empty,
        );
        let incoming = incoming(request.headers());
        let remote = valid(&incoming);
        if is_traced {
            let route = request.extensions().get::<MatchedPath>();
            let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
            span.record("otel.name", format!("{method} {route}"));
            span.record("otel.kind", "server");
            if remote.is_some() {
                // It has not begun, so this is not refused.
                drop(span.set_parent(incoming));
            }
            span.set_attribute("http.request.method", method);
            span.set_attribute("http.route", route);
            span.set_attribute("url.path", request.uri().path().to_owned());
        }
        if let Some(trace) = ours(&span).or(remote) {
            span.record("trace.id", trace.trace_id().to_string());
        }
        span
    }
}

pub(crate) fn answered<B>(answer: &Response<B>, took: Duration, span: &Span) {
    let status = answer.status();
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
    tracing::debug!(http.status = status.as_u16(), ?took, "answered");
}

/// Where spans are traced.
fn ours(span: &Span) -> Option<SpanContext> {
    valid(&span.context())
}

fn valid(context: &Context) -> Option<SpanContext> {
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// What the request came with.
fn incoming(headers: &HeaderMap) -> Context {
    let value = headers.get(TRACEPARENT);
    let value = value.and_then(|value| value.to_str().ok());
    let Some(value) = value else {
        return Context::new();
    };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), value.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}
