//! The middleware around the routes, outermost first.

use std::sync::Arc;

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

use crate::{
    Authenticator, HttpOptions, REPLAYED, Timing,
    auth::identify,
    metrics, problem,
    rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY, with_rate_limit},
    request_id, trace,
    workload::with_bounded_work,
};

/// The largest body that is read, in bytes.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// An answer that a browser takes for a page loads nothing, runs nothing and is in no frame.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the middleware is made of.
pub struct Stack<'a> {
    pub auth: Authenticator,
    pub options: &'a HttpOptions,
    pub timing: Timing,
    /// Whether there is a collector of traces.
    pub is_traced: bool,
}

/// `domain`, whose work is limited and whose callers are known, and `open` beside it, such as health, which is neither.
pub fn stack(
    domain: Router,
    open: Router,
    Stack {
        auth,
        options,
        timing,
        is_traced,
    }: Stack<'_>,
) -> Router {
    let domain = with_bounded_work(domain, options.concurrency_limit, timing);
    let domain = with_rate_limit(domain, options.rate_limit);
    let domain = domain.layer(middleware::from_fn_with_state(Arc::new(auth), identify));
    with_middleware(domain.merge(open), &options.cors_origins, is_traced)
}

fn with_middleware(routes: Router, cors_origins: &[HeaderValue], is_traced: bool) -> Router {
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
                .make_span_with(trace::span(is_traced))
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
