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
            "Nats-Expected-Stream": { "type": "string", "description": "The stream that it was published to." },
            "Nats-Expected-Last-Subject-Sequence": { "type": "string", "pattern": "^[0-9]+$", "examples": ["0"],
                "description": "What the stream had to have before it, so that nothing is stored twice." },
            "ce-specversion": { "const": "1.0" },
            "ce-id": { "type": "string", "pattern": "^[0-9a-f]{24}$", "examples": ["65f0a1b2c3d4e5f60718293b"],
                "description": "The same as `Nats-Msg-Id`." },
            "ce-source": { "const": format!("/{service}"), "description": "The service." },
            "ce-type": { "type": "string", "description": "The type; the subject begins with it." },
            "ce-subject": { "type": "string", "examples": ["65f0a1b2c3d4e5f60718293a"],
                "description": "What it is about: `id` of the subject." },
            "ce-time": { "type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.123Z"],
                "description": "When the event was made, a moment before it was saved." },
            "ce-keyversion": { "type": "string", "pattern": "^[0-9]+$", "examples": ["0"],
                "description": "The version of what it is about, from 0; the next event of it has the next number." },
            "content-type": { "const": "application/json", "description": "Where there is a payload." },
            "traceparent": { "type": "string", "examples": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
                "description": "W3C trace context." },
            "tracestate": { "type": "string", "description": "It goes with `traceparent`." },
            "outbox-reached": { "type": "string", "pattern": "^[0-9]+$",
                "description": "Only of an event that was published again because the stream had lost it: the version that the stream had reached." },
        },
        "required": ["Nats-Msg-Id", "Nats-Expected-Stream", "Nats-Expected-Last-Subject-Sequence", "ce-specversion", "ce-id", "ce-source",
                     "ce-type", "ce-subject", "ce-time", "ce-keyversion"],
    })
}

/// What is read of a message, whoever published it.
pub(super) fn received() -> Value {
    json!({
        "type": "object",
        "description": "What is read of them; none has to be there. What begins with `ce-` is read percent-encoded.",
        "properties": {
            "Nats-Msg-Id": { "type": "string", "description": "The message's id; else its place in the stream is." },
            "ce-type": { "type": "string", "description": "The type; else what the subject has before its last word." },
            "ce-subject": { "type": "string", "minLength": 1, "description": "What it is about; else the last word of the subject." },
            "ce-keyversion": { "type": "string", "pattern": "^[0-9]+$", "description": "Its version, from 0; else `version` of the payload." },
            "traceparent": { "type": "string", "description": "W3C trace context; it goes on with the events that are recorded for the message." },
            "tracestate": { "type": "string", "description": "It goes with `traceparent`." },
        },
    })
}
