//! How the extractors of this crate stand in the document: `params(Id, IfMatch)` in a route's attributes.

use serde_json::{Value, json};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

use crate::{
    Id, IdempotencyKey, PageQuery, Preconditions, Trace,
    idempotency::LONGEST_KEY,
    pages::{DEFAULT_LIMIT, MAX_LIMIT},
    trace::LONGEST_TRACESTATE,
};

type Given = Option<ParameterIn>;

/// An example stands in the schema: a page such as Swagger UI takes one beside it for what is to be sent.
fn text(example: impl Into<Value>) -> ObjectBuilder {
    let examples = [example.into()];
    ObjectBuilder::new()
        .schema_type(Type::String)
        .examples(examples)
}

fn parameter(within: ParameterIn, name: &str, told: &str, schema: ObjectBuilder) -> Parameter {
    let required = match within {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(within)
        .required(required)
        .description(Some(told))
        .schema(Some(schema))
        .build()
}

fn header(name: &str, told: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Header, name, told, schema)
}

pub(super) fn request_id() -> Parameter {
    let told =
        "Kept as the request's id in answer and log, if it is short and plain; else one is made.";
    header("x-request-id", told, text("checkout-7f3a"))
}

impl IntoParams for Id {
    fn into_params(_: impl Fn() -> Given) -> Vec<Parameter> {
        let id = text("65f0a1b2c3d4e5f60718293a");
        vec![parameter(ParameterIn::Path, "id", "The id.", id)]
    }
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Given) -> Vec<Parameter> {
        let told = "Sent again with the same key within 24 hours, the request is not done again: the first answer is given, with `Idempotent-Replayed: true`.";
        let key = text("8e03978e-40d5-43e8-bc93-6894a57f9324");
        let key = key
            .min_length(Some(1))
            .max_length(Some(LONGEST_KEY))
            .pattern(Some(r"^[!#-+\--~]+$"));
        vec![header("Idempotency-Key", told, key)]
    }
}

impl IntoParams for Preconditions {
    fn into_params(_: impl Fn() -> Given) -> Vec<Parameter> {
        let wanted = "The versions that the request is meant for, in quotes, or `*` for any.";
        let known = "The versions that the caller has, in quotes, or `*` for any: a read of one answers 304, a change of one 412.";
        vec![
            header("If-Match", wanted, text("\"0\"")),
            header("If-None-Match", known, text("\"7\"")),
        ]
    }
}

impl IntoParams for Trace {
    fn into_params(_: impl Fn() -> Given) -> Vec<Parameter> {
        let told = "W3C trace context; it goes on to the consumers of the event.";
        let trace = text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let state = format!(
            "It goes on with `traceparent`; one of more than {LONGEST_TRACESTATE} bytes is passed over."
        );
        vec![
            header("traceparent", told, trace),
            header("tracestate", &state, text("vendor=value")),
        ]
    }
}

impl IntoParams for PageQuery {
    fn into_params(_: impl Fn() -> Given) -> Vec<Parameter> {
        let limit = ObjectBuilder::new().schema_type(Type::Integer);
        let limit = limit
            .minimum(Some(1))
            .maximum(Some(MAX_LIMIT))
            .examples([json!(DEFAULT_LIMIT)]);
        let cursor = ObjectBuilder::new().schema_type(Type::String);
        let cursor = cursor.pattern(Some("^[A-Za-z0-9_-]{26}[AEIMQUYcgkosw048]$"));
        let query = |name, told, schema| parameter(ParameterIn::Query, name, told, schema);
        vec![
            query("limit", "How many on a page; 50 by default.", limit),
            query(
                "cursor",
                "Where the page begins, as `Link` gives it.",
                cursor,
            ),
        ]
    }
}
