//! The answer to a write: one that can be stored, and given again.

use std::collections::BTreeMap;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

/// Says of an answer that it was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Status, headers and body of a response.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON; empty for none.
    body: String,
}

impl Answer {
    /// An answer with `body` as JSON.
    ///
    /// # Panics
    /// When `body` is no JSON, which texts, numbers and structs of them always are.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            body: serde_json::to_string(body).expect("texts and numbers are JSON"),
            ..Self::empty(status)
        }
    }

    /// An answer without a body, such as 204.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            headers: BTreeMap::new(),
            body: String::new(),
        }
    }

    /// Whether it was given before, and nothing was done now.
    pub fn is_replayed(&self) -> bool {
        self.headers.contains_key(REPLAYED.as_str())
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.headers.insert(name.to_string(), value.to_string());
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let has_body = !self.body.is_empty();
        let mut response = self.body.into_response();
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        if has_body {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        response
    }
}
