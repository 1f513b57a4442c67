//! How a client is told that something went wrong: RFC 9457 `application/problem+json`, with an `errors` array to loop over.

mod kind;

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

pub use kind::Kind;

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Invalid {
    #[schema(examples("the body must be a JSON object"))]
    pub message: String,
    /// The body's member or the query's parameter, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("name"))]
    pub field: Option<String>,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>, field: Option<&str>) -> Self {
        let (message, field) = (message.into(), field.map(str::to_owned));
        Self { message, field }
    }
}

/// An error as it is sent (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Tells kinds apart that have the same status; what it names is at that address.
    #[schema(examples("/problems/invalid-request"))]
    r#type: &'static str,
    #[schema(examples("The request is not valid"))]
    title: &'static str,
    #[schema(examples(400))]
    status: u16,
    #[schema(min_items = 1)]
    errors: Vec<Invalid>,
}

impl Problem {
    /// A problem whose one error is `message`.
    pub fn with_message(kind: Kind, message: impl Into<String>) -> Self {
        Self::new(kind, vec![Invalid::new(message, None)])
    }

    pub(crate) fn new(kind: Kind, errors: Vec<Invalid>) -> Self {
        Self {
            r#type: kind.address,
            title: kind.title,
            status: kind.status.as_u16(),
            errors,
        }
    }

    /// The same with another status than its kind has in general.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        match status {
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static(BEARER);
                drop(headers.insert(header::WWW_AUTHENTICATE, challenge));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                drop(headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS))
            }
            _ => {}
        }
        response
    }
}

/// Marks a 503 that is no failure: nothing was begun, and as many lines in the log would be in the way.
#[derive(Debug, Clone)]
pub struct NotBegun;

/// Why a request failed, kept beside the response for whoever logs it.
#[derive(Debug, Clone)]
pub(crate) struct Cause(pub(crate) Arc<anyhow::Error>);

/// The media type of every error that we send (RFC 9457).
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// How to say who one is (RFC 6750 §3); alone where there is no token, with what is wrong where there is one.
pub(crate) const BEARER: &str = "Bearer realm=\"api\"";
/// A database that elects a new primary is back within a few seconds.
pub(crate) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");
