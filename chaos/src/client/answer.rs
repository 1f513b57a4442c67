//! What the answer to one try of a write means.

use std::time::Duration;

use reqwest::{
    Response, StatusCode,
    header::{ETAG, HeaderName, LOCATION, RETRY_AFTER},
};

use serde_json::Value;

use crate::{
    domain,
    history::{Answer, Outcome},
};

/// The problem of a 409 that says nothing of the state: the same request is under way.
const KEY_IN_USE: &str = "/problems/key-in-use";

/// What one try came to.
pub(super) enum Means {
    NotSent,
    /// None, or one that claims nothing.
    Unclear,
    Clear(Outcome),
}

pub(super) struct Try {
    /// 0 where no answer came.
    pub(super) status: u16,
    pub(super) means: Means,
    /// Where it is clear.
    pub(super) answer: Option<Answer>,
    /// The pause that the answer asks for.
    pub(super) retry_after: Option<Duration>,
}

impl Try {
    pub(super) async fn of(response: reqwest::Result<Response>) -> Self {
        let without_answer = |means| Self {
            status: 0,
            means,
            answer: None,
            retry_after: None,
        };
        match response {
            Ok(response) => Self::answered(response).await,
            Err(error) if error.is_connect() => without_answer(Means::NotSent),
            Err(_) => without_answer(Means::Unclear),
        }
    }

    /// Whether it may be done yet: nobody has answered it, or somebody who gave up. That another with its key is under way says that it is not.
    pub(super) fn may_be_under_way(&self) -> bool {
        matches!(self.means, Means::Unclear) && !(400..500).contains(&self.status)
    }

    async fn answered(response: Response) -> Self {
        let status = response.status();
        let retry_after = header(&response, RETRY_AFTER).and_then(|value| value.parse().ok());
        let (etag, location) = (header(&response, ETAG), header(&response, LOCATION));
        // The head may say that it is saved, without saying as what.
        let body: Value = response.json().await.unwrap_or_default();
        let problem = body["type"].as_str();
        let is_forbidden_by_state =
            status == StatusCode::CONFLICT && problem.is_some_and(|it| it != KEY_IN_USE);
        let means = if is_temporary(status) && !is_forbidden_by_state {
            Means::Unclear
        } else if status.is_client_error() {
            Means::Clear(Outcome::Refused)
        } else if status.is_success() {
            domain::saved(&body).map_or(Means::Unclear, Means::Clear)
        } else {
            Means::Unclear
        };
        let status = status.as_u16();
        let is_clear = matches!(means, Means::Clear(_));
        Self {
            status,
            means,
            answer: is_clear.then_some(Answer {
                status,
                etag,
                location,
                body,
            }),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }
}

fn header(response: &Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(value.to_str().ok()?.to_owned())
}

/// The version that the `ETag` names.
pub(super) fn version(response: &Response) -> Option<i64> {
    header(response, ETAG)?.trim_matches('"').parse().ok()
}

/// Says nothing of how the write ends: the same request is under way, or the service had no time for it.
fn is_temporary(status: StatusCode) -> bool {
    [
        StatusCode::CONFLICT,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ]
    .contains(&status)
}
