//! How a client is told that something went wrong: RFC 9457 `application/problem+json`, with an `errors` array to loop over.

mod kind;

use axum::http::{HeaderValue, StatusCode};
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
    pub(crate) fn new(kind: Kind, status: StatusCode, errors: Vec<Invalid>) -> Self {
        Self {
            r#type: kind.r#type,
            title: kind.title,
            status: status.as_u16(),
            errors,
        }
    }
}

/// The media type of every error that we send (RFC 9457).
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
