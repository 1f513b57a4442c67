//! Keyset pagination: a cursor names the last ticket of a page, and the next page begins behind it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::{DateTime, oid::ObjectId};
use serde::Deserialize;

use crate::error::Error;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// A place in the list of tickets, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub created_at: DateTime,
    pub id: ObjectId,
}

impl Cursor {
    /// Opaque text for a URL: 8 bytes of milliseconds, 12 of the id, in base64url.
    pub fn encode(self) -> String {
        let mut bytes = self.created_at.timestamp_millis().to_be_bytes().to_vec();
        bytes.extend(self.id.bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` where it is not one of ours.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (millis, id) = bytes.split_first_chunk()?;
        let created_at = DateTime::from_millis(i64::from_be_bytes(*millis));
        Some(Self {
            created_at,
            id: ObjectId::from_bytes(id.try_into().ok()?),
        })
    }
}

/// The query of the list, as it comes in.
#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// One page: how many, and behind which ticket.
pub(super) struct Page {
    pub(super) limit: i64,
    pub(super) after: Option<Cursor>,
}

impl TryFrom<PageQuery> for Page {
    type Error = Error;

    fn try_from(query: PageQuery) -> Result<Self, Error> {
        let limit = match query.limit {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| {
                    Error::invalid_field("limit", "limit must be a whole number from 1 to 200")
                })?,
        };
        let bad_cursor =
            || Error::invalid_field("cursor", "cursor must be one that a Link header gave");
        let after = query
            .cursor
            .map(|text| Cursor::decode(&text).ok_or_else(bad_cursor))
            .transpose()?;
        Ok(Self { limit, after })
    }
}
