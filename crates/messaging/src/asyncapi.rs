//! The AsyncAPI document: what a service sends and receives, for machines to read. Its page is `web::asyncapi`.
//!
//! What it says of headers stands in `headers`; a test compares it with the messages of a real run.

mod headers;

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{Info, RefOr, Schema},
};

use crate::{Consumer, EventType, event::SKIPPED, inbox::Order};

const SENT: &str = "\n\nThe stream stores each event exactly once, and the events of one `id` in the order of their versions: `ce-keyversion` \
    counts from 0, and leaves no number out. Events of different ids come in any order. JetStream delivers at least once: a consumer knows a \
    message that comes again by its `ce-id`, or by a version that it has applied already.\n\nPayloads only ever gain members. Pass over \
    members, headers and types that you don't know.";
const CONFIGURED: &str = "\n\nWhere `NATS_SUBJECT_PREFIX` is set, it stands before every subject, with a dot between. \
    Streams have the names that are told here, unless `NATS_STREAM`, or a consumer's `<CONSUMER>_STREAM`, says another.";

type Schemas = Vec<(String, RefOr<Schema>)>;

/// The schema of a payload, and those that it refers to.
pub(crate) struct Payload {
    name: Cow<'static, str>,
    /// The payload's own is the last.
    schemas: Schemas,
}

impl Payload {
    pub(crate) fn of<T: ToSchema>() -> Self {
        let (name, mut schemas) = (T::name(), Schemas::new());
        T::schemas(&mut schemas);
        schemas.push((name.to_string(), T::schema()));
        Self { name, schemas }
    }
}

/// The document of a service, `info.title` by name, whose events go to `stream`.
///
/// # Panics
/// Where two types of payloads have one name and are not the same: `#[schema(as = …)]` gives one of them another.
pub fn document<C>(
    info: &Info,
    stream: &str,
    events: &[EventType],
    consumers: &[Consumer<C>],
) -> Value {
    let mut document = Document::default();
    if !events.is_empty() {
        document.schema("SentHeaders", headers::sent(&info.title));
    }
    for event in events {
        document.sends(event, stream);
    }
    for noun in EventType::nouns(events) {
        document.sends_skipped(noun, stream);
    }
    if !consumers.is_empty() {
        document.schema("ReceivedHeaders", headers::received());
    }
    for consumer in consumers {
        document.receives(consumer);
    }
    let mut description = info.description.clone().unwrap_or_default();
    if !events.is_empty() {
        description += SENT;
    }
    description += CONFIGURED;
    let mut about = json!({ "title": info.title, "version": info.version, "description": description.trim_start() });
    if let Some(license) = info.license.as_ref().filter(|it| !it.name.is_empty()) {
        about["license"] = json!({ "name": license.name });
    }
    let Document {
        channels,
        operations,
        messages,
        schemas,
    } = document;
    json!({
        "asyncapi": "3.0.0",
        "info": about,
        "defaultContentType": "application/json",
        "servers": { "nats": {
            "host": "{address}",
            "protocol": "nats",
            "description": "NATS with JetStream.",
            "variables": { "address": { "default": "127.0.0.1:4222", "description": "As in `NATS_URL`." } },
        } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

/// Its parts; an operation, its channel and its message have one name.
#[derive(Default)]
struct Document {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
    schemas: Map<String, Value>,
}

impl Document {
    fn sends(&mut self, event: &EventType, stream: &str) {
        let payload = self.payload((event.payload)());
        let headers = headers::of_type("SentHeaders", event.name, &["content-type"]);
        let mut message = message(event.name, headers);
        message["payload"] = payload;
        let told = "The service saves the event in the same transaction as the change, and publishes it afterwards.";
        let names = (event.name, event.name);
        self.operation(names, stream, message, ("send", told));
    }

    fn sends_skipped(&mut self, noun: &str, stream: &str) {
        let name = format!("{noun}.{SKIPPED}");
        let headers = headers::of_type("SentHeaders", &name, &[]);
        let told = "It takes the place of an event that an operator gave up: it has the version of that event, and no payload. A consumer that counts versions goes on with the next.";
        let message = message(&name, headers);
        self.operation((&name, &name), stream, message, ("send", told));
    }

    fn receives<C>(&mut self, consumer: &Consumer<C>) {
        let (order, others) = match consumer.order {
            Order::EachVersion => (
                "It applies each version of an `id` after the one before it; a message that comes early waits.",
                "need no payload: they count as applied",
            ),
            Order::NewestOnly => (
                "It applies a version of an `id` that is newer than the last one, and passes over an older one.",
                "are passed over",
            ),
        };
        let told = format!(
            "The consumer `{}` applies each message once, however often JetStream delivers it. {order} Messages of other types below `{noun}.>`, such as \
             `{noun}.{SKIPPED}`, {others}.",
            consumer.name,
            noun = consumer.noun()
        );
        let payload = self.payload((consumer.payload)());
        for r#type in consumer.types {
            let name = format!("{}.{type}", consumer.name);
            let headers = headers::of_type("ReceivedHeaders", r#type, &[]);
            let mut message = message(r#type, headers);
            message["payload"] = payload.clone();
            message["description"] = json!(
                "This service reads these members; the payload may have more. Without the header `ce-keyversion` the payload has the version, a whole number `version`."
            );
            let names = (&*name, *r#type);
            self.operation(names, consumer.stream, message, ("receive", &told));
        }
    }

    fn operation(
        &mut self,
        (name, r#type): (&str, &str),
        stream: &str,
        message: Value,
        (action, told): (&str, &str),
    ) {
        let channel = json!({
            "address": format!("{type}.{{id}}"),
            "title": r#type,
            "description": format!("Subjects of the stream `{stream}`."),
            "servers": [{ "$ref": "#/servers/nats" }],
            "parameters": { "id": { "description": "The id of what the message is about. The messages of one id come in the order of their versions." } },
            "messages": { name: { "$ref": format!("#/components/messages/{name}") } },
            "x-jetstream-stream": stream,
        });
        let operation = json!({
            "action": action,
            "title": r#type,
            "description": told,
            "channel": { "$ref": format!("#/channels/{name}") },
            "messages": [{ "$ref": format!("#/channels/{name}/messages/{name}") }],
        });
        self.channels.insert(name.to_owned(), channel);
        self.operations.insert(name.to_owned(), operation);
        self.messages.insert(name.to_owned(), message);
    }

    /// Adds its schemas; where it is.
    fn payload(&mut self, payload: Payload) -> Value {
        for (name, schema) in payload.schemas {
            self.schema(&name, json!(schema));
        }
        json!({ "$ref": format!("#/components/schemas/{}", payload.name) })
    }

    fn schema(&mut self, name: &str, schema: Value) {
        let known = self.schemas.entry(name).or_insert_with(|| schema.clone());
        assert!(*known == schema, "two types have the name {name}");
    }
}

fn message(r#type: &str, headers: Value) -> Value {
    json!({ "name": r#type, "title": r#type, "contentType": "application/json", "headers": headers })
}

#[cfg(test)]
mod tests;
