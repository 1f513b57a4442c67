//! The document as HTML: operations with their messages, then headers and payloads, each as a table.

use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

const REF: &str = "$ref";

/// The page of a document, with the style at this address.
pub(super) fn of(document: &Value, style: &str) -> Markup {
    let info = &document["info"];
    let title = text(info, "title");
    let of_action = |action| {
        let all = members(&document["operations"]);
        let of = all.filter(move |(_, it)| it["action"] == action);
        of.collect::<Vec<_>>()
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) ": events" }
                link rel="stylesheet" href=(style);
            }
            body {
                header {
                    h1 { (title) " " small { (text(info, "version")) } }
                    nav {
                        a href="/asyncapi.json" { "asyncapi.json" } " "
                        a href="/docs" { "REST interface" }
                    }
                    (told(info))
                }
                main {
                    @for (action, heading) in [("send", "It sends"), ("receive", "It receives")] {
                        @let operations = of_action(action);
                        @if !operations.is_empty() {
                            h2 { (heading) }
                            @for (id, operation) in operations { (self::operation(document, id, operation)) }
                        }
                    }
                    h2 { "Headers and payloads" }
                    @for (name, schema) in members(&document["components"]["schemas"]) {
                        section id=(name) {
                            h3 { (name) }
                            (told(schema))
                            (table(schema))
                        }
                    }
                }
            }
        }
    }
}

fn operation(document: &Value, id: &str, operation: &Value) -> Markup {
    let channel = resolved(document, &operation["channel"]);
    html! {
        section id=(id) class=(text(operation, "action")) {
            h3 { code { (text(channel, "address")) } }
            (told(operation))
            dl {
                dt { "stream" } dd { code { (text(channel, "x-jetstream-stream")) } }
                @for message in operation["messages"].as_array().into_iter().flatten() {
                    @let message = resolved(document, resolved(document, message));
                    @for part in ["headers", "payload"] {
                        dt { (part) }
                        dd { (reference(&message[part])) }
                    }
                    @if !message["description"].is_null() { dt { "message" } dd { (told(message)) } }
                }
            }
        }
    }
}

/// The members of an object, each with what may stand there.
fn table(schema: &Value) -> Markup {
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|it| it == name));
    let properties: Vec<_> = members(&schema["properties"]).collect();
    html! {
        @if !properties.is_empty() {
            table {
                thead { tr { th { "name" } th { "what may stand there" } th { "example" } th { "meaning" } } }
                tbody {
                    @for (name, property) in properties {
                        tr {
                            td { code { (name) } @if !is_required(name) { " " small { "optional" } } }
                            td { (kind(property)) }
                            td { @if let Some(example) = property["examples"].get(0) { code { (example) } } }
                            td { (told(property)) }
                        }
                    }
                }
            }
        }
    }
}

/// Its type and its bounds.
fn kind(schema: &Value) -> Markup {
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one.as_str()],
        _ => Vec::new(),
    };
    let bounds = [
        ("const", "always"),
        ("enum", "one of"),
        ("format", ""),
        ("pattern", "matches"),
        ("minimum", "from"),
        ("maximum", "to"),
        ("minLength", "length from"),
        ("maxLength", "length to"),
    ];
    html! {
        (reference(schema)) (types.join(" or "))
        @for (bound, words) in bounds {
            @match &schema[bound] {
                Value::Null => {}
                Value::String(text) => { " " (words) " " code { (text) } }
                value => { " " (words) " " code { (value) } }
            }
        }
        @if !schema["items"].is_null() { " of " (kind(&schema["items"])) }
    }
}

/// The schemas that one refers to, or that it is put together of.
fn reference(schema: &Value) -> Markup {
    let parts = ["allOf", "oneOf", "anyOf"];
    let parts = parts.iter().filter_map(|of| schema[of].as_array());
    let name = schema[REF].as_str().and_then(|it| it.rsplit('/').next());
    html! {
        @if let Some(name) = name { a href={ "#" (name) } { (name) } }
        @for part in parts.flatten() { (kind(part)) " " }
        @if name.is_none() && schema.is_null() { "none" }
    }
}

/// What a `$ref` within the document stands for.
fn resolved<'a>(document: &'a Value, reference: &'a Value) -> &'a Value {
    let pointer = reference[REF].as_str().and_then(|it| it.strip_prefix('#'));
    pointer.map_or(reference, |it| document.pointer(it).unwrap_or(&Value::Null))
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

/// Its description: paragraphs, with code between backticks.
fn told(of: &Value) -> Markup {
    let description = text(of, "description");
    html! {
        @for paragraph in description.split("\n\n").filter(|it| !it.is_empty()) {
            p {
                @for (index, part) in paragraph.split('`').enumerate() {
                    @if index % 2 == 1 { code { (part) } } @else { (part) }
                }
            }
        }
    }
}
