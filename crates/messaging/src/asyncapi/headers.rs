//! The headers of messages, as the document has them: those that `jetstream::publish` sends, and those that `inbox::envelope` reads.

use serde_json::{Value, json};

/// Headers of this schema of ours, which say this type; these of them are always there.
pub(super) fn of_type(schema: &str, r#type: &str, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "allOf": [{ "$ref": format!("#/components/schemas/{schema}") }],
        "properties": { "ce-type": { "const": r#type } },
        "required": required,
    })
}

/// What each message of `service` carries.
pub(super) fn sent(service: &str) -> Value {
    json!({
        "type": "object",
        "description": "CloudEvents 1.0 in binary mode: spaces, quotes, `%` and what is not ASCII are percent-encoded in what begins with `ce-`. \
                        The trace is that of the request that caused the event.",
        "properties": {
            "Nats-Msg-Id": { "type": "string", "pattern": "^[0-9a-f]{24}$", "examples": ["65f0a1b2c3d4e5f60718293b"],
                "description": "The event's id, the same each time it is sent." },
            "Nats-Expected-Stream": { "type": "string", "description": "The stream that the service published the event to." },
            "Nats-Expected-Last-Subject-Sequence": { "type": "string", "pattern": "^[0-9]+$", "examples": ["0"],
                "description": "The last message of this subject that the stream had to hold already, so that it stores no event twice." },
            "ce-specversion": { "const": "1.0" },
            "ce-id": { "type": "string", "pattern": "^[0-9a-f]{24}$", "examples": ["65f0a1b2c3d4e5f60718293b"],
                "description": "The same as `Nats-Msg-Id`." },
            "ce-source": { "const": format!("/{service}"), "description": "The service." },
            "ce-type": { "type": "string", "description": "The type of the event; the subject begins with it." },
            "ce-subject": { "type": "string", "examples": ["65f0a1b2c3d4e5f60718293a"],
                "description": "The id of what the event is about, as in the subject." },
            "ce-time": { "type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.123Z"],
                "description": "When the event was made, a moment before it was saved." },
            "ce-keyversion": { "type": "string", "pattern": "^[0-9]+$", "examples": ["0"],
                "description": "The version of what the event is about, from 0; its next event has the next number." },
            "content-type": { "const": "application/json", "description": "Where there is a payload." },
            "traceparent": { "type": "string", "examples": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
                "description": "W3C trace context." },
            "tracestate": { "type": "string", "description": "Vendors' part of the trace context, beside `traceparent`." },
            "outbox-reached": { "type": "string", "pattern": "^[0-9]+$",
                "description": "Only on an event that an operator published again because the stream had lost it: the version that the stream had reached." },
        },
        "required": ["Nats-Msg-Id", "Nats-Expected-Stream", "Nats-Expected-Last-Subject-Sequence", "ce-specversion", "ce-id", "ce-source",
                     "ce-type", "ce-subject", "ce-time", "ce-keyversion"],
    })
}

/// What is read of a message, whoever published it.
pub(super) fn received() -> Value {
    json!({
        "type": "object",
        "description": "The service reads these headers, and requires none. It decodes percent-encoding in those that begin with `ce-`.",
        "properties": {
            "Nats-Msg-Id": { "type": "string", "description": "The id of the message. Without it, the place of the message in the stream is its id." },
            "ce-type": { "type": "string", "description": "The type of the message. Without it, the subject up to its last word is the type." },
            "ce-subject": { "type": "string", "minLength": 1, "description": "The id of what the message is about. Without it, the last word of the subject is that id." },
            "ce-keyversion": { "type": "string", "pattern": "^[0-9]+$", "description": "The version, from 0. Without it, the payload has a member `version`." },
            "traceparent": { "type": "string", "description": "W3C trace context. Events that the service records for the message continue this trace." },
            "tracestate": { "type": "string", "description": "Vendors' part of the trace context, beside `traceparent`." },
        },
    })
}
