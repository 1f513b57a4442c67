//! The one place that every error passes on its way out: plain ones of axum and tower-http become
//! problem+json, and causes are logged.

use std::any::Any;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, Response, StatusCode, header},
    middleware::Next,
    response::IntoResponse,
};

use super::rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::error::{Cause, Error, NotBegun, PROBLEM_JSON, Problem};

const KEPT: [HeaderName; 5] = [
    header::ALLOW,
    header::CONNECTION,
    header::RETRY_AFTER,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
];

/// Makes every error response problem+json, keeping the headers that say more, and logs its cause.
pub(super) async fn unify(request: Request, next: Next) -> axum::response::Response {
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
    let mut problem = Problem::with_message(status, message(status)).into_response();
    for (name, value) in response.headers() {
        if KEPT.contains(name) {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

fn message(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "there is nothing at this address",
        StatusCode::METHOD_NOT_ALLOWED => "this address does not take this method; see Allow",
        StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than this server takes",
        StatusCode::SERVICE_UNAVAILABLE => {
            "no answer in time; if this was a write, it is not known whether it was saved"
        }
        status => status.canonical_reason().unwrap_or("the request failed"),
    }
}

/// A handler that panics is a 500 like any other.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    Error::Internal(anyhow::anyhow!("panic: {}", text.unwrap_or("of no text"))).into_response()
}
