//! What every operation of the domain may answer besides its own: that of the limits, of the extractors and of `Refusal`.

use serde_json::json;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Required,
    Response, ResponseBuilder,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn},
    schema::{Schema, Type},
};

use crate::{Problem, Refusal};

/// Which refusal, and when.
type Answer = (Refusal, &'static str);

fn of_any() -> [Answer; 6] {
    [
        (
            Refusal::invalid("the body must be a JSON object"),
            "The request is not valid; `errors` says why.",
        ),
        (
            Refusal::BodyTimeout,
            "The body took too long; nothing was done.",
        ),
        (Refusal::PayloadTooLarge, "The body is larger than 64 KiB."),
        (
            Refusal::TooManyRequests,
            "Too many requests of this user or address.",
        ),
        (
            Refusal::Internal(anyhow::anyhow!("")),
            "Something went wrong on our side.",
        ),
        (
            Refusal::Overloaded,
            "MongoDB could not answer in time, or too much is asked for at once.",
        ),
    ]
}

fn with_token() -> [Answer; 2] {
    let cross_site = "a page of another site may not write with the session cookie";
    [
        (
            Refusal::Unauthorized("the token is not valid, or not any more"),
            "There is no token, or not one that is accepted.",
        ),
        (
            Refusal::Forbidden(cross_site),
            "A page of another site sent the session cookie.",
        ),
    ]
}

fn with_key() -> [Answer; 2] {
    [
        (
            Refusal::KeyInUse,
            "A request with this `Idempotency-Key` is under way.",
        ),
        (
            Refusal::KeyReused,
            "The `Idempotency-Key` was used for another request.",
        ),
    ]
}

fn with_body() -> [Answer; 1] {
    [(
        Refusal::UnsupportedMediaType,
        "The body is not `application/json`.",
    )]
}

/// Adds to every operation what any of its kind may answer, where it does not say so itself, and the headers of all answers.
pub(super) fn with_shared_answers(mut api: OpenApi) -> OpenApi {
    for operation in api.paths.paths.values_mut().flat_map(operations) {
        let has_key = parameters(operation).any(|it| it.name == "Idempotency-Key");
        add(operation, of_any());
        if operation.security.is_some() {
            add(operation, with_token());
        }
        if operation.request_body.is_some() {
            add(operation, with_body());
        }
        if has_key {
            add(operation, with_key());
        }
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response {
                add_headers(status, response, has_key);
            }
        }
    }
    api
}

/// Adds what every request and every answer may carry, health's too.
pub(super) fn with_request_ids(mut api: OpenApi) -> OpenApi {
    for operation in api.paths.paths.values_mut().flat_map(operations) {
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                let told = "The request's id, as the log has it.";
                add_header(response, "x-request-id", told, Type::String);
            }
        }
        let id = "Kept as the request's id in answer and log, if it is short and plain; else one is made.";
        let id = ParameterBuilder::new()
            .name("x-request-id")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(id))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
            .build();
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(RefOr::T(id));
        parameters.iter_mut().for_each(add_example);
    }
    api
}

/// To the schema of an optional header: a page such as Swagger UI takes an example beside it for what is to be sent.
fn add_example(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else {
        return;
    };
    let example = match parameter.name.as_str() {
        "Idempotency-Key" => "8e03978e-40d5-43e8-bc93-6894a57f9324",
        "If-Match" | "If-None-Match" => "\"0\"",
        "traceparent" => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-request-id" => "checkout-7f3a",
        _ => return,
    };
    if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
        schema.examples.push(json!(example));
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.options,
        &mut item.head,
        &mut item.patch,
    ];
    all.into_iter().flatten()
}

fn parameters(operation: &Operation) -> impl Iterator<Item = &Parameter> {
    let parameters = operation.parameters.iter().flatten();
    parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    })
}

fn add<const N: usize>(operation: &mut Operation, answers: [Answer; N]) {
    for (refusal, when) in answers {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .example(Some(json!(Problem::of(&refusal))))
            .build();
        let response = ResponseBuilder::new()
            .description(when)
            .content("application/problem+json", content);
        operation
            .responses
            .responses
            .entry(refusal.status().as_str().to_owned())
            .or_insert_with(|| RefOr::T(response.build()));
    }
}

fn add_headers(status: &str, response: &mut Response, has_key: bool) {
    add_header(
        response,
        "RateLimit",
        "How many requests are left at once, and in how many seconds all are again; where the request was counted.",
        Type::String,
    );
    add_header(
        response,
        "RateLimit-Policy",
        "How many requests in how many seconds; where the request was counted.",
        Type::String,
    );
    let (name, text, of) = match status {
        "401" => ("WWW-Authenticate", "`Bearer`.", Type::String),
        "409" if has_key => (
            "Retry-After",
            "Seconds; where a request with the key is under way.",
            Type::Integer,
        ),
        "429" | "503" => ("Retry-After", "Seconds.", Type::Integer),
        "200" | "201" if has_key => (
            "Idempotent-Replayed",
            "`true` where it is the answer of an earlier request with the same `Idempotency-Key`.",
            Type::String,
        ),
        _ => return,
    };
    add_header(response, name, text, of);
}

fn add_header(response: &mut Response, name: &str, text: &str, of: Type) {
    let schema = Schema::from(ObjectBuilder::new().schema_type(of));
    let header = HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(text))
        .build();
    let headers = &mut response.headers;
    headers.entry(name.to_owned()).or_insert(RefOr::T(header));
}
