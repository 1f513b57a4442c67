//! The id in a path.

use std::convert::Infallible;

use axum::{
    RequestPartsExt,
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use bson::oid::ObjectId;

/// The one parameter of a path such as `/api/things/{id}`. `None` where it can't be an id: the id of nothing. The handler
/// refuses that, because an invalid body is told first.
#[derive(Debug, Clone, Copy)]
pub struct Id(pub Option<ObjectId>);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.extract::<Path<String>>().await.ok();
        Ok(Self(id.and_then(|Path(id)| ObjectId::parse_str(id).ok())))
    }
}
