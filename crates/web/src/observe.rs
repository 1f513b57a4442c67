//! What is seen of a request: its id, its span (with the W3C trace context, which goes on through the outbox to the consumers)
//! and the metrics.

use std::{
    collections::HashMap,
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, Method, StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};
use metrics::{counter, describe_counter, describe_histogram, histogram};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{SpanContext, Status, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tower_http::request_id::RequestId;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::stack::X_REQUEST_ID;

const LONGEST_REQUEST_ID: usize = 128;
const TRACEPARENT: &str = "traceparent";
const HTTP_DURATION: &str = "http_server_request_duration_seconds";
pub(crate) const HTTP_REFUSED: &str = "http_server_requests_refused_total";

/// Removes an `x-request-id` that is too long or holds anything but letters, digits and `-_.:`.
pub(crate) async fn drop_insane(mut request: Request) -> Request {
    let sane = |id: &[u8]| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len())
            && id
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
    };
    if request
        .headers()
        .get(X_REQUEST_ID)
        .is_some_and(|id| !sane(id.as_bytes()))
    {
        request.headers_mut().remove(X_REQUEST_ID);
    }
    request
}

/// The `traceparent` (<https://www.w3.org/TR/trace-context/>) of the request's span where it is traced, else the one that the request came with, where it is valid.
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

/// Says what each metric means, and begins those whose labels are known.
pub fn describe() {
    describe_histogram!(
        HTTP_DURATION,
        "Time from a request's head to its answer's, by method, route and status; status is aborted where the client hung up before."
    );
    describe_counter!(
        HTTP_REFUSED,
        "Requests that were refused (503) because CONCURRENCY_LIMIT were being worked on, or too many wait for MongoDB."
    );
    counter!(HTTP_REFUSED).absolute(0);
}

/// Measures a request until its answer begins.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut measured = Measured {
        began: Instant::now(),
        method: known(request.method()),
        route,
        status: None,
    };
    let response = next.run(request).await;
    measured.status = Some(response.status());
    response
}

/// Recorded when it is dropped: also where the client hangs up, and the request with it.
struct Measured {
    began: Instant,
    method: &'static str,
    /// The pattern, never the path: the number of series is bounded.
    route: Option<MatchedPath>,
    status: Option<StatusCode>,
}

impl Drop for Measured {
    fn drop(&mut self) {
        let route = self.route.as_ref();
        let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
        let status = self.status.map_or_else(
            || "aborted".to_owned(),
            |status| status.as_u16().to_string(),
        );
        histogram!(HTTP_DURATION, "method" => self.method, "route" => route, "status" => status)
            .record(self.began.elapsed());
    }
}

/// Clients may make methods up.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
