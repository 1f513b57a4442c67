//! What the headers of a message must be: CloudEvents 1.0 in binary mode, the event's id, and the trace of its request.

use std::collections::BTreeMap;

use super::{Findings, Kind};
use crate::history::{Event, Message};

/// What the service adds for the server's eyes: the same for every event, or for one that is published again.
const OF_THE_SERVER: [&str; 3] = [
    "Nats-Expected-Stream",
    "Nats-Expected-Last-Subject-Sequence",
    "outbox-reached",
];

/// Every header that the event's message must have, and no other.
pub(super) fn headers(event: &Event, message: &Message, found: &mut Findings) {
    let mut must_be = of(event);
    let mut is = message.headers.clone();
    is.retain(|name, _| !OF_THE_SERVER.contains(&name.as_str()));
    if event.is_skipped {
        // It stands for the event, and is made anew.
        is.remove("ce-time");
        must_be.remove("ce-time");
    }
    if is != must_be {
        let shown = serde_json::json!({ "event": event, "message": message, "must_be": must_be });
        found.add(
            Kind::Altered,
            "a message with other headers than its event's",
            shown,
        );
    }
}

/// The headers of an event's message.
pub(super) fn of(event: &Event) -> BTreeMap<String, String> {
    let version = event.version.to_string();
    let r#type = if event.is_skipped {
        event.type_of_skipped()
    } else {
        event.r#type.clone()
    };
    let source = event.source();
    let mut headers: BTreeMap<&str, &str> = BTreeMap::from([
        ("Nats-Msg-Id", event.id.as_str()),
        ("ce-specversion", "1.0"),
        ("ce-id", &event.id),
        ("ce-source", &source),
        ("ce-type", &r#type),
        ("ce-subject", &event.key),
        ("ce-time", &event.made),
        ("ce-keyversion", &version),
    ]);
    if !event.is_skipped {
        headers.insert("content-type", "application/json");
        let trace = [
            ("traceparent", &event.traceparent),
            ("tracestate", &event.tracestate),
        ];
        let trace = trace
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        headers.extend(trace);
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    headers.into_iter().map(owned).collect()
}
