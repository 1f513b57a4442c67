//! Why a request is not done, and the one place where that becomes a status, headers and a problem.
//! A domain turns its own refusals into these with `From`.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use db::{TransactionError, cause};
use metrics::counter;

use crate::{
    Invalid, Kind, NotBegun, Problem,
    observe::HTTP_REFUSED,
    problem::{BEARER, Cause, RETRY_AFTER_SECONDS},
};

/// What goes wrong, as the client may know it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 400: the input is not what the route wants; one entry for each thing to mend.
    #[error("the request is not valid")]
    Invalid(Vec<Invalid>),
    /// 401: there is no token.
    #[error("a token is needed, as Authorization: Bearer <jwt> or in the session cookie")]
    NoToken,
    /// 401: there is one that we don't accept, for a reason of printable ASCII without quotes.
    #[error("{0}")]
    InvalidToken(&'static str),
    /// 403: the user is known, and may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// 404.
    #[error("there is nothing at this address")]
    NotFound,
    /// 408: the body takes too long; nothing was done.
    #[error("the body did not arrive in time; nothing was done")]
    BodyTimeout,
    /// 409: the state of the resource forbids it.
    #[error("{0}")]
    Conflict(&'static str),
    /// 412: `If-Match` names another version than the current one, or `If-None-Match` names that.
    #[error("If-Match names another version than the current one, or If-None-Match names it")]
    PreconditionFailed,
    /// 413.
    #[error("the body is larger than this server takes")]
    PayloadTooLarge,
    /// 415.
    #[error("the body must be sent as Content-Type: application/json")]
    UnsupportedMediaType,
    /// 415: a body that is compressed, or says so.
    #[error("the body must be sent without a Content-Encoding")]
    UnsupportedEncoding,
    /// 409: the same request is under way.
    #[error("a request with this Idempotency-Key is under way")]
    KeyInUse,
    /// 422: the key of another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// 429.
    #[error("too many requests; Retry-After says when the next is taken")]
    TooManyRequests,
    /// 503: collections and indexes are not made yet, or the database answers no writes.
    #[error("the service is not ready; nothing was done")]
    NotReady,
    /// 503: so many requests are worked on that this one was not begun.
    #[error("too many requests are being worked on; nothing of this one was done")]
    Overloaded,
    /// 503: so many changes of the same thing by this user are worked on that this one was not begun.
    #[error("too many of your changes of this are being worked on; nothing of this one was done")]
    Contended,
    /// 503: the database could not answer in time. Whether the write happened may be unknown.
    #[error(
        "the database could not answer in time; if this was a write, it is not known whether it was saved"
    )]
    Unavailable(#[source] anyhow::Error),
    /// 500: a defect, ours or the database's. The client learns nothing of it.
    #[error("something went wrong on our side")]
    Internal(#[source] anyhow::Error),
}

impl From<db::Error> for Refusal {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::NotReady | db::Error::Stalled => Self::NotReady,
            db::Error::Overloaded => {
                counter!(HTTP_REFUSED).increment(1);
                Self::Overloaded
            }
            // The driver's own words may quote what was to be stored.
            db::Error::Unavailable(error) => Self::Unavailable(anyhow::Error::msg(cause(&error))),
            db::Error::Failed(error) => Self::Internal(anyhow::Error::msg(cause(&error))),
        }
    }
}

impl<R: Into<Self>> From<TransactionError<R>> for Refusal {
    fn from(error: TransactionError<R>) -> Self {
        match error {
            TransactionError::Refused(why) => why.into(),
            TransactionError::Failed(error) => error.into(),
        }
    }
}

impl Refusal {
    /// A 400 about the request as a whole.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(vec![Invalid::new(message, None)])
    }

    /// A 400 about one field or parameter.
    pub fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Invalid::new(message, Some(field))])
    }

    /// The status that the client is answered.
    pub fn status(&self) -> StatusCode {
        self.kind().status
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::INVALID,
            Self::NoToken => Kind::NO_TOKEN,
            Self::InvalidToken(_) => Kind::INVALID_TOKEN,
            Self::Forbidden(_) => Kind::FORBIDDEN,
            Self::NotFound => Kind::NOT_FOUND,
            Self::BodyTimeout => Kind::BODY_TIMEOUT,
            Self::Conflict(_) => Kind::CONFLICT,
            Self::KeyInUse => Kind::KEY_IN_USE,
            Self::PreconditionFailed => Kind::PRECONDITION,
            Self::PayloadTooLarge => Kind::TOO_LARGE,
            Self::UnsupportedMediaType => Kind::MEDIA_TYPE,
            Self::UnsupportedEncoding => Kind::ENCODING,
            Self::KeyReused => Kind::KEY_REUSED,
            Self::TooManyRequests => Kind::TOO_MANY,
            Self::NotReady => Kind::NOT_READY,
            Self::Overloaded | Self::Contended => Kind::OVERLOADED,
            Self::Unavailable(_) => Kind::UNAVAILABLE,
            Self::Internal(_) => Kind::INTERNAL,
        }
    }
}

impl Problem {
    /// How a client is told of a refusal.
    pub fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Invalid(errors) => Self::new(refusal.kind(), errors.clone()),
            _ => Self::with_message(refusal.kind(), refusal.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Problem::of(&self).into_response();
        match self {
            Self::Unavailable(cause) | Self::Internal(cause) => {
                response.extensions_mut().insert(Cause(Arc::new(cause)));
            }
            Self::NotReady | Self::Overloaded | Self::Contended => {
                response.extensions_mut().insert(NotBegun);
            }
            Self::InvalidToken(wrong) => {
                let challenge =
                    format!("{BEARER}, error=\"invalid_token\", error_description=\"{wrong}\"");
                if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                    let headers = response.headers_mut();
                    headers.insert(header::WWW_AUTHENTICATE, challenge);
                }
            }
            Self::UnsupportedEncoding => {
                let headers = response.headers_mut();
                headers.insert(
                    header::ACCEPT_ENCODING,
                    HeaderValue::from_static("identity"),
                );
            }
            Self::KeyInUse => {
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            _ => {}
        }
        response
    }
}
