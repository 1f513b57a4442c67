//! The kinds of problems: what a client can tell apart by `type` where the status alone has several meanings, and what to do about each.

use axum::http::StatusCode;

/// A kind of problem. Its address is `/problems/<name>`, which the service answers with what stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `/problems/` and its name.
    pub address: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
    /// What it means, and what to do.
    pub told: &'static str,
}

impl Kind {
    pub const INVALID: Self = Self {
        address: "/problems/invalid-request",
        status: StatusCode::BAD_REQUEST,
        title: "The request is not valid",
        told: "`errors` has an entry for each thing to mend, with the field where it is one. Sent again unchanged, it is refused again.",
    };
    pub const MALFORMED: Self = Self {
        address: "/problems/malformed-head",
        status: StatusCode::BAD_REQUEST,
        title: "The head of the request can't be read",
        told: "It is no HTTP, too long or too large (then the status is 414 or 431). The connection is closed behind it.",
    };
    pub const NO_TOKEN: Self = Self {
        address: "/problems/no-token",
        status: StatusCode::UNAUTHORIZED,
        title: "A token is needed",
        told: "Send one, as `Authorization: Bearer <jwt>` or in the session cookie.",
    };
    pub const INVALID_TOKEN: Self = Self {
        address: "/problems/invalid-token",
        status: StatusCode::UNAUTHORIZED,
        title: "The token is not accepted",
        told: "`errors` says what is wrong with it. Get a new one; this one is refused again.",
    };
    pub const FORBIDDEN: Self = Self {
        address: "/problems/forbidden",
        status: StatusCode::FORBIDDEN,
        title: "The user may not do this",
        told: "The token is fine, and its user may not; or a page of another site sent the session cookie.",
    };
    pub const NOT_FOUND: Self = Self {
        address: "/problems/not-found",
        status: StatusCode::NOT_FOUND,
        title: "There is nothing at this address",
        told: "Neither a route nor a document of this id.",
    };
    pub const METHOD: Self = Self {
        address: "/problems/method-not-allowed",
        status: StatusCode::METHOD_NOT_ALLOWED,
        title: "The address does not take this method",
        told: "`Allow` has those that it takes.",
    };
    pub const BODY_TIMEOUT: Self = Self {
        address: "/problems/body-timeout",
        status: StatusCode::REQUEST_TIMEOUT,
        title: "The body did not arrive in time",
        told: "Nothing was done. Send it again.",
    };
    pub const CONFLICT: Self = Self {
        address: "/problems/conflict",
        status: StatusCode::CONFLICT,
        title: "The state of the resource forbids it",
        told: "Read the resource, and decide anew. Sent again unchanged, it is refused until that state changes.",
    };
    pub const KEY_IN_USE: Self = Self {
        address: "/problems/key-in-use",
        status: StatusCode::CONFLICT,
        title: "A request with this Idempotency-Key is under way",
        told: "Send it again after `Retry-After`, with the same key: then the first answer is given.",
    };
    pub const PRECONDITION: Self = Self {
        address: "/problems/precondition-failed",
        status: StatusCode::PRECONDITION_FAILED,
        title: "A precondition does not hold",
        told: "`If-Match` or `If-None-Match` is about another version. Read the resource, and decide anew.",
    };
    pub const TOO_LARGE: Self = Self {
        address: "/problems/body-too-large",
        status: StatusCode::PAYLOAD_TOO_LARGE,
        title: "The body is too large",
        told: "64 KiB are taken.",
    };
    pub const MEDIA_TYPE: Self = Self {
        address: "/problems/unsupported-media-type",
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        title: "The body is of another type",
        told: "Send it as `Content-Type: application/json`.",
    };
    pub const ENCODING: Self = Self {
        address: "/problems/unsupported-encoding",
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        title: "The body is encoded",
        told: "Send it without a `Content-Encoding`.",
    };
    pub const KEY_REUSED: Self = Self {
        address: "/problems/key-reused",
        status: StatusCode::UNPROCESSABLE_ENTITY,
        title: "The Idempotency-Key is another request's",
        told: "Use a new key for a new request.",
    };
    pub const TOO_MANY: Self = Self {
        address: "/problems/too-many-requests",
        status: StatusCode::TOO_MANY_REQUESTS,
        title: "Too many requests of this caller",
        told: "Nothing was done. `Retry-After` says when the next is taken.",
    };
    pub const NOT_READY: Self = Self {
        address: "/problems/not-ready",
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "The service is not ready",
        told: "Nothing was done. Send it again after `Retry-After`, to another instance where there is one.",
    };
    pub const OVERLOADED: Self = Self {
        address: "/problems/overloaded",
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Too much is asked for at once",
        told: "Nothing was done. Send it again after `Retry-After`, with growing pauses.",
    };
    pub const UNAVAILABLE: Self = Self {
        address: "/problems/unavailable",
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "There was no answer in time",
        told: "If it was a write, it is not known whether it was saved: send it again with the same `Idempotency-Key`, and it is done once.",
    };
    pub const INTERNAL: Self = Self {
        address: "/problems/internal-error",
        status: StatusCode::INTERNAL_SERVER_ERROR,
        title: "Something went wrong on our side",
        told: "The cause is in the log, with the id of `x-request-id`.",
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
        self.address.trim_start_matches("/problems/")
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Of an error of a layer below, which has a status alone.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            // That one has no time for an answer.
            StatusCode::SERVICE_UNAVAILABLE => Self::UNAVAILABLE,
            status if status.is_server_error() => Self::INTERNAL,
            status => {
                let same = Self::ALL.into_iter().find(|kind| kind.status == status);
                same.unwrap_or(Self::INVALID)
            }
        }
    }
}
