//! What is seen of a request: its id, its span and the metrics.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{
        HeaderName, Method, StatusCode, Version,
        header::{HOST, USER_AGENT},
    },
    middleware::Next,
    response::Response,
};
use metrics::{counter, describe_counter, describe_histogram, histogram};
use opentelemetry::trace::Status;
use tower_http::request_id::RequestId;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::trace::{incoming, ours, valid};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST_REQUEST_ID: usize = 128;
/// Clients may make methods up.
const OTHER: &str = "other";
const HTTP_DURATION: &str = "http_server_request_duration_seconds";
pub(crate) const HTTP_REFUSED: &str = "http_server_requests_refused_total";

/// Removes an `x-request-id` that is too long or holds anything but letters, digits and `-_.:`.
pub(crate) async fn drop_bad_request_id(mut request: Request) -> Request {
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

/// The target of spans that are for the log alone: of probes, which come every few seconds and tell nothing.
pub const UNTRACED: &str = "web::probe";

/// Makes the span of each request: of the highest level, so that whatever is logged has its ids with it. Where there is no
/// collector, nothing is described for one.
pub(crate) fn span<B>(is_traced: bool) -> impl Fn(&Request<B>) -> Span + Clone {
    move |request| {
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map(MatchedPath::as_str);
        let is_traced = is_traced && !route.is_some_and(is_probe);
        let span = described(request, route.is_some_and(is_probe));
        let incoming = incoming(request.headers());
        let remote = valid(&incoming);
        if is_traced {
            if remote.is_some() {
                // It has not begun, so this is not refused.
                drop(span.set_parent(incoming));
            }
            describe_for_collector(&span, request, route);
        }
        if let Some(trace) = ours(&span).or(remote) {
            span.record("trace.id", trace.trace_id().to_string());
        }
        span
    }
}

fn is_probe(route: &str) -> bool {
    route.starts_with("/health/")
}

fn described<B>(request: &Request<B>, is_probe: bool) -> Span {
    let id = request.extensions().get::<RequestId>();
    let id = id.and_then(|id| id.header_value().to_str().ok());
    let (id, method) = (id.unwrap_or_default(), known(request.method()));
    let path = request.uri().path();
    if is_probe {
        return tracing::error_span!(
            target: UNTRACED,
            "request",
            request.id = id,
            trace.id = Empty,
            http.method = method,
            http.path = path,
        );
    }
    tracing::error_span!(
        "request",
        request.id = id,
        trace.id = Empty,
        http.method = method,
        http.path = path,
        otel.name = Empty,
        otel.kind = Empty,
    )
}

/// OpenTelemetry's conventions for HTTP servers. (Not `url.query`: clients put tokens there.)
fn describe_for_collector<B>(span: &Span, request: &Request<B>, route: Option<&str>) {
    let (method, is_known) = match known(request.method()) {
        OTHER => ("HTTP", false),
        method => (method, true),
    };
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    span.record("otel.name", name);
    span.record("otel.kind", "server");
    if is_known {
        span.set_attribute("http.request.method", method);
    } else {
        let original = request.method().as_str().to_owned();
        span.set_attribute("http.request.method", "_OTHER");
        span.set_attribute("http.request.method_original", original);
    }
    if let Some(route) = route {
        span.set_attribute("http.route", route.to_owned());
    }
    // TLS ends before us.
    span.set_attribute("url.scheme", "http");
    span.set_attribute("url.path", request.uri().path().to_owned());
    let version = match request.version() {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    span.set_attribute("network.protocol.version", version);
    let header = |name| request.headers().get(name)?.to_str().ok();
    let authority = request.uri().authority().cloned();
    let authority = authority.or_else(|| header(HOST)?.parse().ok());
    if let Some(authority) = authority {
        span.set_attribute("server.address", authority.host().to_owned());
        if let Some(port) = authority.port_u16() {
            span.set_attribute("server.port", i64::from(port));
        }
    }
    if let Some(agent) = header(USER_AGENT) {
        span.set_attribute("user_agent.original", agent.to_owned());
    }
}

pub(crate) fn answered<B>(answer: &Response<B>, took: Duration, span: &Span) {
    let status = answer.status();
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_attribute("error.type", status.as_str().to_owned());
        span.set_status(Status::error(""));
    }
    tracing::debug!(http.status = status.as_u16(), ?took, "answered");
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

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}
