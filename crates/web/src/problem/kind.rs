//! The kinds of problems: what a client can tell apart by `type` where the status alone has several meanings, and what to do about each.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

// Its address is `/problems/<name>`, which the service answers with what stands here.
/// A kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemKind)]
pub struct Kind {
    #[schema(examples("/problems/overloaded"))]
    pub r#type: &'static str,
    #[schema(examples("Too much is asked for at once"))]
    pub title: &'static str,
    /// Of the answers that have it, in general.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, examples(503))]
    pub status: StatusCode,
    /// What it means, and what to do.
    pub description: &'static str,
}

fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Kind {
    pub(crate) const INVALID: Self = Self {
        r#type: "/problems/invalid-request",
        title: "The request is not valid",
        status: StatusCode::BAD_REQUEST,
        description: "`errors` has an entry for each thing to mend, with the field where it is one. Sent again unchanged, it is refused again.",
    };
    pub(crate) const MALFORMED: Self = Self {
        r#type: "/problems/malformed-head",
        title: "The head of the request can't be read",
        status: StatusCode::BAD_REQUEST,
        description: "It is no HTTP, too long or too large (then the status is 414 or 431). The connection is closed behind it.",
    };
    pub(crate) const NO_TOKEN: Self = Self {
        r#type: "/problems/no-token",
        title: "A token is needed",
        status: StatusCode::UNAUTHORIZED,
        description: "Send one, as `Authorization: Bearer <jwt>` or in the session cookie.",
    };
    pub(crate) const INVALID_TOKEN: Self = Self {
        r#type: "/problems/invalid-token",
        title: "The token is not accepted",
        status: StatusCode::UNAUTHORIZED,
        description: "`errors` says what is wrong with it. Get a new one; this one is refused again.",
    };
    pub(crate) const FORBIDDEN: Self = Self {
        r#type: "/problems/forbidden",
        title: "The user may not do this",
        status: StatusCode::FORBIDDEN,
        description: "The token is fine, and its user may not; or a page of another site sent the session cookie.",
    };
    pub(crate) const NOT_FOUND: Self = Self {
        r#type: "/problems/not-found",
        title: "There is nothing at this address",
        status: StatusCode::NOT_FOUND,
        description: "Neither a route nor a document of this id.",
    };
    pub(crate) const METHOD: Self = Self {
        r#type: "/problems/method-not-allowed",
        title: "The address does not take this method",
        status: StatusCode::METHOD_NOT_ALLOWED,
        description: "`Allow` has those that it takes.",
    };
    pub(crate) const BODY_TIMEOUT: Self = Self {
        r#type: "/problems/body-timeout",
        title: "The body did not arrive in time",
        status: StatusCode::REQUEST_TIMEOUT,
        description: "Nothing was done. Send it again.",
    };
    pub(crate) const CONFLICT: Self = Self {
        r#type: "/problems/conflict",
        title: "The state of the resource forbids it",
        status: StatusCode::CONFLICT,
        description: "Read the resource, and decide anew. Sent again unchanged, it is refused until that state changes.",
    };
    pub(crate) const KEY_IN_USE: Self = Self {
        r#type: "/problems/key-in-use",
        title: "A request with this Idempotency-Key is under way",
        status: StatusCode::CONFLICT,
        description: "Send it again after `Retry-After`, with the same key: then the first answer is given.",
    };
    pub(crate) const PRECONDITION: Self = Self {
        r#type: "/problems/precondition-failed",
        title: "A precondition does not hold",
        status: StatusCode::PRECONDITION_FAILED,
        description: "`If-Match` or `If-None-Match` is about another version. Read the resource, and decide anew.",
    };
    pub(crate) const TOO_LARGE: Self = Self {
        r#type: "/problems/body-too-large",
        title: "The body is too large",
        status: StatusCode::PAYLOAD_TOO_LARGE,
        description: "64 KiB are taken.",
    };
    pub(crate) const MEDIA_TYPE: Self = Self {
        r#type: "/problems/unsupported-media-type",
        title: "The body is of another type",
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        description: "Send it as `Content-Type: application/json`.",
    };
    pub(crate) const ENCODING: Self = Self {
        r#type: "/problems/unsupported-encoding",
        title: "The body is encoded",
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        description: "Send it without a `Content-Encoding`.",
    };
    pub(crate) const KEY_REUSED: Self = Self {
        r#type: "/problems/key-reused",
        title: "The Idempotency-Key is another request's",
        status: StatusCode::UNPROCESSABLE_ENTITY,
        description: "Use a new key for a new request.",
    };
    pub(crate) const TOO_MANY: Self = Self {
        r#type: "/problems/too-many-requests",
        title: "Too many requests of this caller",
        status: StatusCode::TOO_MANY_REQUESTS,
        description: "Nothing was done. `Retry-After` says when the next is taken.",
    };
    pub(crate) const NOT_READY: Self = Self {
        r#type: "/problems/not-ready",
        title: "The service is not ready",
        status: StatusCode::SERVICE_UNAVAILABLE,
        description: "Nothing was done. Send it again after `Retry-After`, to another instance where there is one.",
    };
    pub(crate) const OVERLOADED: Self = Self {
        r#type: "/problems/overloaded",
        title: "Too much is asked for at once",
        status: StatusCode::SERVICE_UNAVAILABLE,
        description: "Nothing was done. Send it again after `Retry-After`, with growing pauses.",
    };
    pub(crate) const UNAVAILABLE: Self = Self {
        r#type: "/problems/unavailable",
        title: "There was no answer in time",
        status: StatusCode::SERVICE_UNAVAILABLE,
        description: "If it was a write, it is not known whether it was saved: send it again with the same `Idempotency-Key`, and it is done once.",
    };
    pub(crate) const INTERNAL: Self = Self {
        r#type: "/problems/internal-error",
        title: "Something went wrong on our side",
        status: StatusCode::INTERNAL_SERVER_ERROR,
        description: "The cause is in the log, with the id of `x-request-id`.",
    };

    /// Every kind there is.
    pub const ALL: [Self; 20] = [
        Self::INVALID,
        Self::MALFORMED,
        Self::NO_TOKEN,
        Self::INVALID_TOKEN,
        Self::FORBIDDEN,
        Self::NOT_FOUND,
        Self::METHOD,
        Self::BODY_TIMEOUT,
        Self::CONFLICT,
        Self::KEY_IN_USE,
        Self::PRECONDITION,
        Self::TOO_LARGE,
        Self::MEDIA_TYPE,
        Self::ENCODING,
        Self::KEY_REUSED,
        Self::TOO_MANY,
        Self::NOT_READY,
        Self::OVERLOADED,
        Self::UNAVAILABLE,
        Self::INTERNAL,
    ];

    /// The last part of its address.
    pub fn name(&self) -> &'static str {
        self.r#type.trim_start_matches("/problems/")
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The one that says the most of a status alone.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        if status.is_server_error() {
            return Self::INTERNAL;
        }
        let same = Self::ALL.into_iter().find(|kind| kind.status == status);
        same.unwrap_or(Self::INVALID)
    }
}
