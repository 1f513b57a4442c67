//! The middleware around the routes, outermost first. Every error passes here on its way out: plain ones of axum and tower-http
//! become problem+json, and the cause of each goes to the log, never to the client.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    trace::TraceLayer,
};

use crate::{
    Authenticator, HttpOptions, Refusal, Timing,
    auth::{identify, refuse_cross_site},
    caching,
    host::ask_for_one_host,
    json::REPLAYED,
    limits::{Workload, bound_work},
    observe::{self, X_REQUEST_ID},
    problem::PROBLEM_JSON,
    rate::{RATE_LIMIT, RATE_LIMIT_POLICY, Rates, limit, refuse_unheard},
    refusal::{Cause, NotBegun},
};

/// The largest body that is read, in bytes.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

const KEPT: [HeaderName; 4] = [
    header::ALLOW,
    header::RETRY_AFTER,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
];
/// Browsers ask first once in this time, not before each request. (Chromium takes two hours at most.)
const PREFLIGHTS_COUNT_FOR: Duration = Duration::from_secs(60 * 60);
/// Where a handler does not say otherwise. An answer that a browser takes for a page loads nothing, runs nothing and is in no frame.
pub(crate) const ON_EVERY_ANSWER: [(HeaderName, HeaderValue); 3] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];

/// What the middleware is made of.
pub struct Stack<'a> {
    pub auth: Authenticator,
    pub options: &'a HttpOptions,
    pub timing: Timing,
    /// What pages of `CORS_ORIGINS` may ask for: the methods that the routes have.
    pub methods: Vec<Method>,
    /// What is worked on for requests, also where the client has hung up.
    pub work: TaskTracker,
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
        methods,
        work,
        is_traced,
    }: Stack<'_>,
) -> Router {
    let (auth, rates) = (Arc::new(auth), Rates::new(options));
    let unheard = rates.clone();
    let unheard = unheard.map(|rates| middleware::from_fn_with_state(rates, refuse_unheard));
    let limited = rates.map(|rates| middleware::from_fn_with_state(rates, limit));
    let workload = Workload::new(options.concurrency_limit, timing, work);
    // In one stack: each `Router::layer` would put a box around every route, to be cloned by all layers above it.
    let layers = ServiceBuilder::new()
        .option_layer(unheard)
        .layer(middleware::from_fn_with_state(Arc::clone(&auth), identify))
        .layer(middleware::from_fn(caching::say_who_may_keep_it))
        // Counted before anything else is refused, for the caller that its token names.
        .option_layer(limited)
        .layer(middleware::from_fn_with_state(auth, refuse_cross_site))
        .layer(middleware::from_fn_with_state(workload, bound_work));
    let domain = domain.layer(layers);
    let cors = (!options.cors_origins.is_empty()).then(|| cors(&options.cors_origins, methods));
    with_middleware(domain.merge(open), cors, is_traced)
}

fn with_middleware(routes: Router, cors: Option<CorsLayer>, is_traced: bool) -> Router {
    let stack = ServiceBuilder::new()
        // An id that comes in is kept if it is sane, else replaced.
        .layer(middleware::map_request(observe::drop_bad_request_id))
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, MakeRequestUuid))
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
            header::COOKIE,
        ]))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(observe::span(is_traced))
                .on_request(())
                .on_response(observe::answered)
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::new(X_REQUEST_ID))
        .layer(middleware::from_fn(observe::measure))
        .layer(middleware::map_response(with_headers_of_every_answer))
        .layer(middleware::from_fn(ask_for_one_host))
        .option_layer(cors)
        // Below it, whoever fails may answer in any form: here it becomes problem+json, and is logged once.
        .layer(middleware::from_fn(unify))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT_BYTES));
    routes.layer(stack)
}

async fn with_headers_of_every_answer(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in ON_EVERY_ANSWER {
        headers.entry(name).or_insert(value);
    }
    let caching = headers.entry(header::CACHE_CONTROL);
    caching.or_insert(caching::NOWHERE);
    answer
}

/// What pages of other origins may do: all that our own may.
fn cors(origins: &[HeaderValue], methods: Vec<Method>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_credentials(true)
        .allow_methods(methods)
        .max_age(PREFLIGHTS_COUNT_FOR)
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

/// Makes every error response problem+json, keeping the headers that say more, and logs its cause.
async fn unify(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if status.is_server_error() && response.extensions().get::<NotBegun>().is_none() {
        let cause = response.extensions().get();
        let cause = cause.map(|Cause(cause)| format!("{cause:#}"));
        tracing::error!(
            http.status = status.as_u16(),
            error = cause,
            "request failed"
        );
    }
    if response.headers().get(header::CONTENT_TYPE) == Some(&PROBLEM_JSON) {
        return response;
    }
    let mut problem = Refusal::of_status(status).into_response();
    for (name, value) in response.headers() {
        if KEPT.contains(name) {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

/// A handler that panics is a 500 like any other.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    Refusal::Internal(anyhow::anyhow!("panic: {}", text.unwrap_or("of no text"))).into_response()
}
