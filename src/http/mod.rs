//! What every route shares: the middleware stack, extractors and the health routes.

mod body;
mod health;
mod problem;
mod request_id;
mod trace_context;

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, StatusCode, header},
    middleware,
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

pub use body::{Valid, invalid_query};
pub use health::{Health, routes as health_routes};
pub use trace_context::TraceParent;

/// The largest body that is read, in bytes.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// How long a request may take before it is answered 503.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the middleware around `routes`, outermost first. `timeout` is [`REQUEST_TIMEOUT`] but in tests.
pub fn with_middleware(routes: Router, timeout: Duration) -> Router {
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

fn span<B>(request: &Request<B>) -> tracing::Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    tracing::info_span!("request", request.id = id, http.method = %request.method(), http.path = request.uri().path())
}
