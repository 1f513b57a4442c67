//! Why a request is not done, and the one place where that becomes a status, headers and a problem: what handlers refuse, what the middleware
//! does, and what a layer below answers with a status alone. A domain turns its own refusals into these with `From`.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use db::{Abort, TransactionError, cause};
use metrics::counter;

use crate::{Invalid, Kind, Problem, observe::HTTP_REFUSED, problem::PROBLEM_JSON};

/// How to say who one is (RFC 6750 §3); alone where there is no token, with what is wrong where there is one.
const BEARER: &str = "Bearer realm=\"api\"";
/// A database that elects a new primary is back within a few seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

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
    /// 405; `Allow` has those that it takes.
    #[error("this address does not take this method; see Allow")]
    MethodNotAllowed,
    /// 408: the body takes too long; nothing was done.
    #[error("the body did not arrive in time; nothing was done")]
    BodyTimeout,
    /// 409: the state of the resource forbids it.
    #[error("{0}")]
    Conflict(&'static str),
    /// Of a kind of the domain's own, which says more than the status: a client does another thing about it.
    #[error("{1}")]
    Own(Kind, &'static str),
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
    TooManyRequests { retry_after_seconds: u64 },
    /// 503: collections and indexes are not made yet, or the database answers no writes.
    #[error("the service is not ready; nothing was done")]
    NotReady,
    /// 503: the same where readiness itself is asked for, and why.
    #[error("{0}")]
    Unready(String),
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
    /// 503: what was to be done took too long.
    #[error("no answer in time; if this was a write, it is not known whether it was saved")]
    WorkTimeout,
    /// 500: a defect, ours or the database's. The client learns nothing of it.
    #[error("something went wrong on our side")]
    Internal(#[source] anyhow::Error),
    /// 400, 414 or 431: the head of the request can't be read.
    #[error("{1}")]
    MalformedHead(StatusCode, &'static str),
    /// Any other status of a layer below.
    #[error("{}", .0.canonical_reason().unwrap_or("the request failed"))]
    Other(StatusCode),
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

/// For domains that have no refusals of their own: `?` ends a transaction's closure with one of these.
impl From<Refusal> for Abort<Refusal> {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
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

    /// What a layer below means by a status alone.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::SERVICE_UNAVAILABLE => Self::WorkTimeout,
            other => Self::Other(other),
        }
    }

    /// What hyper means by the status with which it refuses a head; `None` for others.
    pub(crate) fn of_head(status: StatusCode) -> Option<Self> {
        let why = match status {
            StatusCode::BAD_REQUEST => "the head of the request is not HTTP that can be read",
            StatusCode::URI_TOO_LONG => "the address of the request is too long",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                "the head of the request is larger than 32 KB, or has more than 100 headers"
            }
            _ => return None,
        };
        Some(Self::MalformedHead(status, why))
    }

    /// The status that the client is answered.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MalformedHead(status, _) | Self::Other(status) => *status,
            _ => self.kind().status,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::INVALID,
            Self::NoToken => Kind::NO_TOKEN,
            Self::InvalidToken(_) => Kind::INVALID_TOKEN,
            Self::Forbidden(_) => Kind::FORBIDDEN,
            Self::NotFound => Kind::NOT_FOUND,
            Self::MethodNotAllowed => Kind::METHOD,
            Self::BodyTimeout => Kind::BODY_TIMEOUT,
            Self::Conflict(_) => Kind::CONFLICT,
            Self::Own(kind, _) => *kind,
            Self::KeyInUse => Kind::KEY_IN_USE,
            Self::PreconditionFailed => Kind::PRECONDITION,
            Self::PayloadTooLarge => Kind::TOO_LARGE,
            Self::UnsupportedMediaType => Kind::MEDIA_TYPE,
            Self::UnsupportedEncoding => Kind::ENCODING,
            Self::KeyReused => Kind::KEY_REUSED,
            Self::TooManyRequests { .. } => Kind::TOO_MANY,
            Self::NotReady | Self::Unready(_) => Kind::NOT_READY,
            Self::Overloaded | Self::Contended => Kind::OVERLOADED,
            Self::Unavailable(_) | Self::WorkTimeout => Kind::UNAVAILABLE,
            Self::Internal(_) => Kind::INTERNAL,
            Self::MalformedHead(..) => Kind::MALFORMED,
            Self::Other(status) => Kind::of_status(*status),
        }
    }

    /// The header that says more, where there is one.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let bearer = HeaderValue::from_static(BEARER);
        match (self, self.status()) {
            (Self::InvalidToken(wrong), _) => {
                let wrong =
                    format!("{BEARER}, error=\"invalid_token\", error_description=\"{wrong}\"");
                let challenge = HeaderValue::try_from(wrong).unwrap_or(bearer);
                Some((header::WWW_AUTHENTICATE, challenge))
            }
            (_, StatusCode::UNAUTHORIZED) => Some((header::WWW_AUTHENTICATE, bearer)),
            (Self::UnsupportedEncoding, _) => Some((header::ACCEPT_ENCODING, IDENTITY)),
            (
                Self::TooManyRequests {
                    retry_after_seconds,
                },
                _,
            ) => Some((header::RETRY_AFTER, (*retry_after_seconds).into())),
            (Self::KeyInUse, _) | (_, StatusCode::SERVICE_UNAVAILABLE) => {
                Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS))
            }
            _ => None,
        }
    }

    /// How a client is told of it.
    pub(crate) fn problem(&self) -> Problem {
        let errors = match self {
            Self::Invalid(errors) => errors.clone(),
            _ => vec![Invalid::new(self.to_string(), None)],
        };
        Problem::new(self.kind(), self.status(), errors)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let of_problem = [(header::CONTENT_TYPE, PROBLEM_JSON)];
        let mut response = (self.status(), of_problem, Json(self.problem())).into_response();
        response.headers_mut().extend(self.header());
        let beside = response.extensions_mut();
        match self {
            Self::Unavailable(cause) | Self::Internal(cause) => {
                beside.insert(Cause(Arc::new(cause)));
            }
            Self::NotReady | Self::Unready(_) | Self::Overloaded | Self::Contended => {
                beside.insert(NotBegun);
            }
            _ => {}
        }
        response
    }
}

/// Marks a 503 that is no failure: nothing was begun, and as many lines in the log would be in the way.
#[derive(Debug, Clone)]
pub(crate) struct NotBegun;

/// Why a request failed, kept beside the response for whoever logs it.
#[derive(Debug, Clone)]
pub(crate) struct Cause(pub(crate) Arc<anyhow::Error>);
