//! Whether a message is as an AsyncAPI document says: its headers, its payload, and that it has nothing else.

use std::collections::BTreeSet;

use async_nats::jetstream::message::StreamMessage;
use serde_json::{Map, Value, json};

/// Checks a message by what the document says of those that the service sends (`action` is `send`) or reads (`receive`). Its subject has
/// `prefix` before it. Returns the name of its channel.
pub fn check_message(
    document: &Value,
    action: &str,
    prefix: &str,
    message: &StreamMessage,
) -> String {
    let subject = message.subject.strip_prefix(&format!("{prefix}.")).unwrap();
    let name = channel_of(document, action, subject);
    let told = &document["components"]["messages"][&name];
    let mut headers = Map::new();
    for (header, values) in message.headers.iter() {
        assert_eq!(values.len(), 1, "{header}");
        headers.insert(header.to_string(), json!(values[0].as_str()));
    }
    assert_valid(document, &told["headers"], &Value::Object(headers.clone()));
    if told["payload"].is_null() {
        assert!(message.payload.is_empty(), "{name}");
        return name;
    }
    let payload: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_valid(document, &told["payload"], &payload);
    if action == "send" {
        let names = |of: &Map<String, Value>| of.keys().cloned().collect::<BTreeSet<_>>();
        let known = members(document, &told["headers"]["allOf"][0]);
        assert!(names(&headers).is_subset(&known), "{headers:?}");
        let all = members(document, &told["payload"]);
        assert_eq!(names(payload.as_object().unwrap()), all);
    }
    name
}

/// Returns the channel's name: that of the operation with this `action` whose channel has the subject.
fn channel_of(document: &Value, action: &str, subject: &str) -> String {
    let (of_type, _) = subject.rsplit_once('.').unwrap();
    let operations = document["operations"].as_object().unwrap().iter();
    let mut names = operations.filter_map(|(name, operation)| {
        let address = &document["channels"][name]["address"];
        let is_it = operation["action"] == action && *address == format!("{of_type}.{{id}}");
        is_it.then(|| name.clone())
    });
    names.next().unwrap_or_else(|| panic!("{subject}"))
}

fn assert_valid(document: &Value, schema: &Value, instance: &Value) {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [schema], "components": document["components"],
    });
    let validator = jsonschema::options().should_validate_formats(true);
    let validator = validator.build(&schema).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| error.to_string())
        .collect();
    assert!(wrong.is_empty(), "{instance}: {wrong:?}");
}

/// The members that a part of a message may have.
fn members(document: &Value, schema: &Value) -> BTreeSet<String> {
    let pointer = schema["$ref"].as_str().unwrap().trim_start_matches('#');
    let properties = &document.pointer(pointer).unwrap()["properties"];
    properties.as_object().unwrap().keys().cloned().collect()
}
