//! Pages of a list: the query that asks for one, and the `Link` to the next (RFC 8288).

use axum::{
    Json, RequestPartsExt,
    extract::{FromRequestParts, OriginalUri, Query},
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::{DateTime, oid::ObjectId};
use db::{Page, Place};
use serde::{Deserialize, Serialize};

use crate::Refusal;

pub(crate) const DEFAULT_LIMIT: u16 = 50;
pub(crate) const MAX_LIMIT: u16 = 200;

/// Which page a request asks for: `limit` and `cursor`.
pub struct PageQuery {
    pub page: Page,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Asked {
            limit: Option<String>,
            cursor: Option<String>,
        }
        let asked = parts.extract::<Query<Asked>>().await;
        let Query(Asked { limit, cursor }) = asked.map_err(|rejection| {
            Refusal::invalid(format!("the query is not as expected: {rejection}"))
        })?;
        let limit = limit.map_or(Some(DEFAULT_LIMIT), |limit| limit.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        let limit = limit.ok_or_else(|| {
            let wants = format!("limit must be a whole number from 1 to {MAX_LIMIT}");
            Refusal::invalid_field("limit", wants)
        })?;
        let bad_cursor =
            || Refusal::invalid_field("cursor", "cursor must be one that a Link header gave");
        let after = cursor.map(|text| decode(&text).ok_or_else(bad_cursor));
        let after = after.transpose()?;
        // As it was sent: a nested router sees the end of it.
        let path = match parts.extensions.get::<OriginalUri>() {
            Some(OriginalUri(uri)) => uri.path(),
            None => parts.uri.path(),
        };
        Ok(Self {
            page: Page { limit, after },
            path: path.to_owned(),
        })
    }
}

/// A page as a JSON array, with a link to the next where there is one.
pub fn paged<T: Serialize>(asked: &PageQuery, items: &[T], next: Option<Place>) -> Response {
    let body = Json(items);
    let Some(next) = next else {
        return body.into_response();
    };
    let (path, limit, cursor) = (&asked.path, asked.page.limit, encode(next));
    let link = format!("<{path}?limit={limit}&cursor={cursor}>; rel=\"next\"");
    ([(header::LINK, link)], body).into_response()
}

/// Opaque text for a URL: 8 bytes of milliseconds, 12 of the id, in base64url.
fn encode(place: Place) -> String {
    let mut bytes = place.created_at.timestamp_millis().to_be_bytes().to_vec();
    bytes.extend(place.id.bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `None` where it is not one of ours.
fn decode(text: &str) -> Option<Place> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (millis, id) = bytes.split_first_chunk()?;
    Some(Place {
        created_at: DateTime::from_millis(i64::from_be_bytes(*millis)),
        id: ObjectId::from_bytes(id.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_survives_its_text(millis in any::<i64>(), id in any::<[u8; 12]>()) {
            let place = Place { created_at: DateTime::from_millis(millis), id: ObjectId::from_bytes(id) };
            prop_assert_eq!(decode(&encode(place)), Some(place));
        }

        #[test]
        fn no_text_makes_a_cursor_panic(text in ".{0,60}") {
            let _ = decode(&text);
        }
    }
}
