//! What every operation of the domain may answer besides its own: that of the limits, of the extractors and of `Refusal`.

use anyhow::anyhow;
use serde_json::json;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Response,
    ResponseBuilder,
    path::Operation,
    schema::{Schema, Type},
};

use super::params;
use crate::{Refusal, auth::CROSS_SITE};

const PROBLEM_JSON: &str = "application/problem+json";

/// What an operation wants, which says what it may answer.
struct Wants {
    is_read: bool,
    token: bool,
    body: bool,
    parameters: Vec<String>,
}

impl Wants {
    fn of(is_read: bool, operation: &Operation) -> Self {
        let parameters = operation.parameters.iter().flatten();
        let name = |parameter: &RefOr<_>| match parameter {
            RefOr::T(utoipa::openapi::path::Parameter { name, .. }) => Some(name.clone()),
            RefOr::Ref(_) => None,
        };
        Self {
            is_read,
            token: operation.security.is_some(),
            body: operation.request_body.is_some(),
            parameters: parameters.filter_map(name).collect(),
        }
    }

    fn parameter(&self, name: &str) -> bool {
        self.parameters.iter().any(|it| it == name)
    }

    fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = vec![
            Refusal::invalid("the body must be a JSON object"),
            Refusal::BodyTimeout,
            Refusal::PayloadTooLarge,
            Refusal::TooManyRequests {
                retry_after_seconds: 1,
            },
            Refusal::Internal(anyhow!("")),
            Refusal::Overloaded,
        ];
        if self.token {
            refusals.extend([
                Refusal::InvalidToken("the token has expired"),
                Refusal::Forbidden(CROSS_SITE),
            ]);
        }
        if self.body {
            refusals.extend([Refusal::UnsupportedMediaType, Refusal::UnsupportedEncoding]);
        }
        if self.parameter("id") {
            refusals.push(Refusal::NotFound);
        }
        if self.parameter("If-Match") {
            refusals.push(Refusal::PreconditionFailed);
        }
        if self.parameter("Idempotency-Key") {
            refusals.extend([Refusal::KeyInUse, Refusal::KeyReused]);
        }
        refusals
    }

    /// The names of the headers of an answer with this status, besides those of refusals.
    fn headers(&self, status: &str) -> Vec<&'static str> {
        let key = self.parameter("Idempotency-Key");
        let versions = self.parameter("If-Match") || self.parameter("If-None-Match");
        let mut names = vec!["RateLimit", "RateLimit-Policy"];
        match status {
            "201" => names.extend(["Location", "ETag"]),
            "200" | "304" if versions => names.push("ETag"),
            "200" if self.parameter("cursor") => names.push("Link"),
            _ => {}
        }
        if key && status.starts_with('2') {
            names.push("Idempotent-Replayed");
        }
        names
    }
}

/// When a refusal is told.
fn when(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid(_) => "The request is not valid; `errors` says why.",
        Refusal::NoToken | Refusal::InvalidToken(_) => {
            "There is no token, or not one that is accepted."
        }
        Refusal::Forbidden(_) => "A page of another site sent the session cookie.",
        Refusal::NotFound => "There is nothing of this id.",
        Refusal::BodyTimeout => "The body took too long; nothing was done.",
        Refusal::KeyInUse => "A request with this `Idempotency-Key` is under way.",
        Refusal::PreconditionFailed => {
            "`If-Match` names another version, or `If-None-Match` this one."
        }
        Refusal::PayloadTooLarge => "The body is larger than 64 KiB.",
        Refusal::UnsupportedMediaType => {
            "The body is not `application/json`, or comes with a `Content-Encoding`."
        }
        Refusal::KeyReused => "The `Idempotency-Key` was used for another request.",
        Refusal::TooManyRequests { .. } => "Too many requests of this user or address.",
        Refusal::Overloaded => {
            "MongoDB could not answer in time, or too much is asked for at once."
        }
        _ => "Something went wrong on our side.",
    }
}

/// The headers of answers as the document spells them, and what each means.
const HEADERS: [(&str, &str); 10] = [
    (
        "RateLimit",
        "Requests that are left at once, and in how many seconds all are again.",
    ),
    ("RateLimit-Policy", "How many requests in how many seconds."),
    ("Location", "The address of what was made."),
    ("ETag", "The version in quotes, for `If-Match`."),
    ("Link", "The next page, where there is one."),
    (
        "Idempotent-Replayed",
        "`true` where it is the answer of an earlier request with the key.",
    ),
    (
        "Accept-Encoding",
        "`identity`, where the body came with another `Content-Encoding`.",
    ),
    (
        "WWW-Authenticate",
        "`Bearer`, with `error` and `error_description` where a token came (RFC 6750).",
    ),
    ("Retry-After", "Seconds; where it helps to try again."),
    ("x-request-id", "The request's id, as the log has it."),
];

/// Adds to every operation what any of its kind may answer, where it does not say so itself, and the headers of all answers.
pub(super) fn with_shared_answers(mut api: OpenApi) -> OpenApi {
    for (is_read, operation) in api.paths.paths.values_mut().flat_map(operations) {
        let wants = Wants::of(is_read, operation);
        let responses = &mut operation.responses.responses;
        for refusal in wants.refusals() {
            let example = json!(refusal.problem());
            let answer = ResponseBuilder::new().description(when(&refusal));
            let content = problem().example(Some(example)).build();
            let answer = answer.content(PROBLEM_JSON, content).build();
            let status = refusal.status().as_str().to_owned();
            let answer = responses.entry(status).or_insert(RefOr::T(answer));
            if let (RefOr::T(answer), Some((name, _))) = (answer, refusal.header()) {
                add_header(answer, name.as_str());
            }
        }
        if wants.is_read && wants.parameter("If-None-Match") {
            let has_it = ResponseBuilder::new()
                .description("The caller has it.")
                .build();
            responses
                .entry("304".to_owned())
                .or_insert(RefOr::T(has_it));
        }
        for (status, response) in responses {
            let RefOr::T(response) = response else {
                continue;
            };
            if status.as_str() >= "400" && response.content.is_empty() {
                let content = problem().build();
                response
                    .content
                    .insert(PROBLEM_JSON.to_owned(), content.into());
            }
            for name in wants.headers(status) {
                add_header(response, name);
            }
        }
    }
    api
}

/// Adds what every request and every answer may carry, health's too.
pub(super) fn with_request_ids(mut api: OpenApi) -> OpenApi {
    for (_, operation) in api.paths.paths.values_mut().flat_map(operations) {
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                add_header(response, "x-request-id");
            }
        }
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(RefOr::T(params::request_id()));
    }
    api
}

/// Each with whether it only reads.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    let read = get.iter_mut().map(|operation| (true, operation));
    let others = [put, post, delete, patch].into_iter().flatten();
    read.chain(others.map(|operation| (false, operation)))
}

fn problem() -> ContentBuilder {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")))
}

/// One of [`HEADERS`].
fn add_header(response: &mut Response, name: &str) {
    let mut known = HEADERS.iter();
    let Some((name, meaning)) = known.find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        return;
    };
    let of = match *name {
        "Retry-After" => Type::Integer,
        _ => Type::String,
    };
    let schema = Schema::from(ObjectBuilder::new().schema_type(of));
    let header = HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(*meaning));
    let headers = &mut response.headers;
    headers
        .entry((*name).to_owned())
        .or_insert(RefOr::T(header.build()));
}
