//! A head that hyper can't read, which it answers itself with a status alone, before any route: the same with what every answer of ours
//! has, a problem and a request's id.

use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use tower_http::request_id::{MakeRequestId, MakeRequestUuid};

use crate::{
    Refusal, caching, observe::X_REQUEST_ID, problem::PROBLEM_JSON, stack::ON_EVERY_ANSWER,
};

/// What to send in place of `text`; `None` where that is no answer without a body that refuses a request.
pub(super) fn in_place_of(text: &[u8]) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(text).ok()?.strip_suffix("\r\n\r\n")?;
    let status: u16 = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let status = StatusCode::from_u16(status).ok()?;
    let body = serde_json::to_vec(&Refusal::of_head(status)?.problem()).ok()?;
    let id = MakeRequestUuid.make_request_id(&Request::new(()))?;
    let id = id.header_value().clone();
    tracing::debug!(request.id = ?id, http.status = status.as_u16(), "the head of a request is refused");
    let ours: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, PROBLEM_JSON),
        (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
        (header::CACHE_CONTROL, caching::NOWHERE),
        (X_REQUEST_ID, id),
    ];
    let lines = head.split("\r\n");
    let kept = lines.filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
    let mut answer: Vec<u8> = kept
        .flat_map(|line| [line, "\r\n"].concat().into_bytes())
        .collect();
    for (name, value) in ours.iter().chain(&ON_EVERY_ANSWER) {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend(b"\r\n");
    answer.extend(body);
    Some(answer)
}
