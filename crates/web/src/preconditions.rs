//! Conditional requests (RFC 9110 §13): a document's version is its entity tag, a strong one, since nothing of a document changes
//! without its version.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use axum_extra::headers::{self, ETag, HeaderMapExt};

use crate::{Refusal, etag};

fn tag(version: i64) -> ETag {
    let tag = etag(version).parse();
    tag.expect("digits in quotes are an entity tag")
}

/// The version that a change is meant for, where the request says one.
pub struct IfMatch(Option<headers::IfMatch>);

impl IfMatch {
    /// Whether the change is meant for this version.
    pub fn accepts(&self, version: i64) -> bool {
        let wanted = self.0.as_ref();
        wanted.is_none_or(|wanted| wanted.precondition_passes(&tag(version)))
    }
}

/// The versions that the caller has, where the request says some.
pub struct IfNoneMatch(Option<headers::IfNoneMatch>);

impl IfNoneMatch {
    /// Whether the caller has this version.
    pub fn has(&self, version: i64) -> bool {
        let known = self.0.as_ref();
        known.is_some_and(|known| !known.precondition_passes(&tag(version)))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let unreadable =
            |_| Refusal::invalid("if-match must be * or versions in quotes, such as \"3\"");
        // `Option<TypedHeader>` would take a header that is absent for one that is empty.
        let wanted = parts.headers.typed_try_get().map_err(unreadable)?;
        Ok(Self(wanted))
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    /// One that can't be read is passed over: the caller gets what it may have already.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.typed_get()))
    }
}
