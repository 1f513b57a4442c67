//! Reads a JSON body that is an object, and validates it; also what a bad query answers.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{
        FromRequest, Request,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use validator::{Validate, ValidationErrors};

use crate::error::{Error, Invalid};

/// A body that `T` accepts; or 400, 413 or 415.
pub struct Valid<T>(pub T);

impl<S, T> FromRequest<S> for Valid<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let Json(raw) = Json::<Box<RawValue>>::from_request(request, state)
            .await
            .map_err(rejected)?;
        // serde would take an array for a struct.
        if !raw.get().trim_start().starts_with('{') {
            return Err(Error::invalid("the body must be a JSON object"));
        }
        let body: T = serde_json::from_str(raw.get())
            .map_err(|error| Error::invalid(format!("the body is not as expected: {error}")))?;
        body.validate().map_err(invalid)?;
        Ok(Self(body))
    }
}

fn rejected(rejection: JsonRejection) -> Error {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => Error::UnsupportedMediaType,
        rejection if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Error::PayloadTooLarge,
        _ => Error::invalid("the body must be well-formed JSON"),
    }
}

/// Each message once for each field, in the fields' order.
fn invalid(errors: ValidationErrors) -> Error {
    let fields: BTreeMap<_, _> = errors.field_errors().into_iter().collect();
    let mut told: Vec<Invalid> = Vec::new();
    for (field, errors) in fields {
        for error in errors {
            let message = error
                .message
                .as_deref()
                .unwrap_or("is not valid")
                .to_owned();
            let entry = Invalid {
                message,
                field: Some(field.clone().into_owned()),
            };
            if !told.contains(&entry) {
                told.push(entry);
            }
        }
    }
    Error::Validation(told)
}

/// A query string that can't be read.
pub fn invalid_query(rejection: &QueryRejection) -> Error {
    Error::invalid(format!("the query is not as expected: {rejection}"))
}
