//! JSON in and out: a body that is valid, and the answer to a write, which can be stored and given again.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use validator::Validate;

use crate::{Refusal, invalid::invalid};

/// Says of an answer that it was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A body that `T` accepts; or 400, 413 or 415.
pub struct ValidJson<T>(pub T);

impl<S, T> FromRequest<S> for ValidJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        if !is_plain(request.headers()) {
            return Err(Refusal::UnsupportedEncoding);
        }
        let Json(raw) = Json::<Box<RawValue>>::from_request(request, state)
            .await
            .map_err(rejected)?;
        // serde would take an array for a struct.
        if !raw.get().trim_start().starts_with('{') {
            return Err(Refusal::invalid("the body must be a JSON object"));
        }
        let body: T = serde_json::from_str(raw.get())
            .map_err(|error| Refusal::invalid(format!("the body is not as expected: {error}")))?;
        body.validate().map_err(|errors| invalid::<T>(&errors))?;
        Ok(Self(body))
    }
}

/// Whether the body is sent as it is: nothing of ours decodes one.
fn is_plain(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.all(|coding| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    })
}

fn rejected(rejection: JsonRejection) -> Refusal {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => Refusal::UnsupportedMediaType,
        rejection if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::PayloadTooLarge
        }
        _ => Refusal::invalid("the body must be well-formed JSON"),
    }
}

/// The entity tag of a version: the number in quotes.
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// Status, headers and body of a response.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON; empty for none.
    body: String,
    /// Not where it is given again.
    #[serde(skip)]
    tells_of_a_change: bool,
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
            tells_of_a_change: true,
        }
    }

    /// The same, where everything was already as the request wants it.
    #[must_use]
    pub fn without_a_change(mut self) -> Self {
        self.tells_of_a_change = false;
        self
    }

    /// Whether the request has changed something: not where its answer is given again, or is [`Self::without_a_change`].
    pub fn tells_of_a_change(&self) -> bool {
        self.tells_of_a_change
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: impl ToString) -> Self {
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
