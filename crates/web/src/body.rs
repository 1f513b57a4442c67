//! Reads a JSON body that is an object, and validates it.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::StatusCode,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use validator::{Validate, ValidationErrors};

use crate::{Invalid, Refusal};

/// A body that `T` accepts; or 400, 413 or 415.
pub struct ValidJson<T>(pub T);

impl<S, T> FromRequest<S> for ValidJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Json(raw) = Json::<Box<RawValue>>::from_request(request, state)
            .await
            .map_err(rejected)?;
        // serde would take an array for a struct.
        if !raw.get().trim_start().starts_with('{') {
            return Err(Refusal::invalid("the body must be a JSON object"));
        }
        let body: T = serde_json::from_str(raw.get())
            .map_err(|error| Refusal::invalid(format!("the body is not as expected: {error}")))?;
        body.validate().map_err(invalid)?;
        Ok(Self(body))
    }
}

fn rejected(rejection: JsonRejection) -> Refusal {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => Refusal::UnsupportedMediaType,
        rejection if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::PayloadTooLarge
        }
        _ => Refusal::invalid("the body must be well-formed JSON"),
    }
}

/// Each message once for each field, in the fields' order.
fn invalid(errors: ValidationErrors) -> Refusal {
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
    Refusal::Invalid(told)
}
