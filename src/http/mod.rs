//! What every route shares: the middleware stack, extractors and the health routes.

mod body;
mod health;
mod metrics;
mod openapi;
mod problem;
mod rate_limit;
mod request_id;
mod serve;
mod trace;
mod trace_context;
mod workload;

use std::time::Duration;

use crate::idempotency::REPLAYED;
use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
    middleware,
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};

pub use body::{Valid, invalid_query};
pub use health::{Health, PING_INTERVAL, routes as health_routes};
pub use openapi::{docs_routes, openapi, with_request_ids, with_shared_answers};
pub use rate_limit::with_rate_limit;
use rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY};
pub use serve::serve;
pub use trace_context::TraceParent;
pub use workload::with_bounded_work;

/// The largest body that is read, in bytes.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// How long clients may take, and we.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the head of a request; a connection is idle no longer either. Proxies keep idle ones for 60 s, and must not
    /// find one closed as they send on it.
    pub head: Duration,
    /// For a client to read more of an answer, before its connection is closed.
    pub write: Duration,
    /// For a body, before it is answered 408.
    pub body: Duration,
    /// For what is to be done, before it is answered 503.
    pub work: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(65),
            write: Duration::from_secs(30),
            body: Duration::from_secs(10),
            work: Duration::from_secs(10),
        }
    }
}

const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// An answer that a browser takes for a page loads nothing, runs nothing and is in no frame.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the middleware around `routes`, outermost first.
pub fn with_middleware(routes: Router, cors_origins: &[HeaderValue]) -> Router {
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
                .make_span_with(trace::span)
                .on_request(())
                .on_response(trace::answered)
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
            header::WWW_AUTHENTICATE,
            X_REQUEST_ID,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            REPLAYED,
        ])
}
