//! The headers of an event's message.

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::Event;

pub(super) const ID_HEADER: &str = "ce-id";
pub(super) const VERSION_HEADER: &str = "ce-keyversion";
/// CloudEvents' HTTP binding, whose rule NATS takes over: space, quote, percent and what is not printable ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// CloudEvents 1.0 in binary mode, and the request's trace.
pub(super) fn headers(event: &Event, service: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut insert = |name: &'static str, value: &str| {
        let value = Cow::from(utf8_percent_encode(value, ESCAPED));
        headers.insert(HeaderName::from_static(name), &*value);
    };
    insert("ce-specversion", "1.0");
    insert(ID_HEADER, &event.id.to_hex());
    insert("ce-source", &format!("/{service}"));
    insert("ce-type", &event.r#type);
    insert("ce-subject", &event.key);
    insert(
        "ce-time",
        &event.created_at.try_to_rfc3339_string().unwrap_or_default(),
    );
    insert(VERSION_HEADER, &event.version.to_string());
    insert("content-type", "application/json");
    if let Some(traceparent) = &event.traceparent {
        insert("traceparent", traceparent);
    }
    headers
}
