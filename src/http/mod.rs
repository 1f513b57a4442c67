//! What every route shares: the middleware stack, extractors and the health routes.

mod body;
mod health;
mod limits;
mod metrics;
mod openapi;
mod problem;
mod request_id;
mod serve;
mod trace_context;

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware,
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};
use tracing::field::Empty;

use crate::telemetry;

pub use body::{Valid, invalid_query};
pub use health::{Health, routes as health_routes};
pub use limits::with_limits;
pub use openapi::{docs_routes, openapi, with_shared_answers};
pub use serve::{HEADER_READ_TIMEOUT, serve};
pub use trace_context::TraceParent;

/// The largest body that is read, in bytes.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// How long a request may take before it is answered 503.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// An answer that a browser takes for a page loads nothing, runs nothing and is in no frame.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the middleware around `routes`, outermost first. `timeout` is [`REQUEST_TIMEOUT`] but in tests.
pub fn with_middleware(routes: Router, cors_origins: &[HeaderValue], timeout: Duration) -> Router {
    let stack = ServiceBuilder::new()
        // An id that comes in is kept if it is sane, else replaced.
        .layer(middleware::map_request(request_id::drop_insane))
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, MakeRequestUuid))
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
            header::COOKIE,
        ]))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::new(X_REQUEST_ID))
        .layer(middleware::from_fn(metrics::measure))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            NO_SNIFF,
        ))
        .layer(SetResponseHeaderLayer::overriding(
            header::REFERRER_POLICY,
            NO_REFERRER,
        ))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CONTENT_SECURITY_POLICY,
            NOTHING,
        ))
        .option_layer((!cors_origins.is_empty()).then(|| cors(cors_origins)))
        // Below it, whoever fails may answer in any form: here it becomes problem+json, and is logged once.
        .layer(middleware::from_fn(problem::unify))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            timeout,
        ))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT_BYTES));
    routes.layer(stack)
}

/// What pages of other origins may do: all that our own may.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::LINK,
            header::RETRY_AFTER,
            X_REQUEST_ID,
        ])
}

fn span<B>(request: &Request<B>) -> tracing::Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    let span = tracing::info_span!(
        "request",
        request.id = id,
        trace.id = Empty,
        http.method = %request.method(),
        http.path = request.uri().path(),
        otel.kind = "server",
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
