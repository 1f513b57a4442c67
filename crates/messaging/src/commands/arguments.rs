//! What the arguments of the commands want, in words that go behind their names.

use std::time::{Duration, SystemTime};

use bson::{DateTime, oid::ObjectId};
use db::setting::{wants, wants_duration};

pub(super) fn object_id(value: &str) -> Result<ObjectId, String> {
    let wants = "24 hexadecimal digits, as `outbox list` shows them";
    ObjectId::parse_str(value).map_err(|_| wants.to_owned())
}

pub(super) fn limit(value: &str) -> Result<i64, String> {
    wants("a number above 0", |limit| *limit > 0)(value)
}

/// A time, or how long ago.
pub(super) fn time(value: &str) -> Result<DateTime, String> {
    let ago = |ago: Duration| {
        SystemTime::now()
            .checked_sub(ago)
            .map(DateTime::from_system_time)
    };
    wants_duration("", |ago| !ago.is_zero())(value)
        .ok()
        .and_then(ago)
        .or_else(|| DateTime::parse_rfc3339_str(value).ok())
        .ok_or_else(|| {
            "a time such as 2026-01-31T12:00:00Z, or how long ago, such as 2h".to_owned()
        })
}
