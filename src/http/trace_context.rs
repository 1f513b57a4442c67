//! The W3C trace context that a request arrives with; it goes on through the outbox to the consumers.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

/// The request's `traceparent` (<https://www.w3.org/TR/trace-context/>), where it has a valid one.
#[derive(Debug, Clone)]
pub struct TraceParent(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for TraceParent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = parts
            .headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        Ok(Self(
            value.filter(|value| is_valid(value)).map(str::to_owned),
        ))
    }
}

fn is_valid(value: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|b| b != b'0');
    let parts: Vec<&str> = value.split('-').collect();
    matches!(parts[..], ["00", trace, parent, flags] if id(trace, 32) && id(parent, 16) && hex(flags, 2))
}
