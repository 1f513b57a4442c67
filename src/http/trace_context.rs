//! The W3C trace context that a request arrives with; it goes on through the outbox to the consumers.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use tracing::Span;

use crate::telemetry;

/// The `traceparent` (<https://www.w3.org/TR/trace-context/>) of the request's span where it is traced, else the
/// one that the request came with, where it is valid.
#[derive(Debug, Clone)]
pub struct TraceParent(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for TraceParent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let ours = telemetry::traceparent(&Span::current());
        Ok(Self(
            ours.or_else(|| incoming(&parts.headers).map(str::to_owned)),
        ))
    }
}

/// What the request came with, where it is valid.
pub(super) fn incoming(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    is_valid(value).then_some(value)
}

fn is_valid(value: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|b| b != b'0');
    let parts: Vec<&str> = value.split('-').collect();
    matches!(parts[..], ["00", trace, parent, flags] if id(trace, 32) && id(parent, 16) && hex(flags, 2))
}
