//! How the outbox stands, in the words of its operators.

use bson::{Bson, Document, doc};
use serde::Serialize;

/// How the outbox stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Events that are not published yet, those that are parked among them.
    pub unsent: i64,
    pub oldest_unsent_seconds: Option<f64>,
    /// Apart from those that are parked, and those that wait behind them.
    pub oldest_waiting_seconds: Option<f64>,
    pub parked: i64,
    /// Which instance publishes at this moment.
    pub publisher: Option<PublishingInstance>,
}

impl Status {
    /// `totals` are of [`totals`]; none where nothing is unsent.
    pub(crate) fn new(totals: Option<&Document>, publisher: Option<(String, i64)>) -> Self {
        let figure = |name| totals.and_then(|totals| totals.get_i64(name).ok());
        let seconds = |name| figure(name).map(|ms| ms as f64 / 1000.0);
        Self {
            unsent: figure("unsent").unwrap_or_default(),
            oldest_unsent_seconds: seconds("oldestMs"),
            oldest_waiting_seconds: seconds("oldestWaitingMs"),
            parked: figure("parked").unwrap_or_default(),
            publisher: publisher.map(|(instance, fence)| PublishingInstance { instance, fence }),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishingInstance {
    /// `host/pid`.
    pub instance: String,
    /// Grows each time that another instance takes over.
    pub fence: i64,
}

/// An event that waits, without its payload. What can't be read of it is empty: that may be why it waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub id: String,
    pub r#type: Option<String>,
    pub key: Option<String>,
    pub version: Option<i64>,
    /// RFC 3339, as all times here.
    pub created_at: Option<String>,
    pub parked: Option<Parked>,
}

/// Why an event was put aside.
#[derive(Debug, Serialize)]
pub struct Parked {
    pub reason: Option<String>,
    pub at: Option<String>,
    /// How often it was tried and parked.
    pub attempts: Option<i64>,
}

impl From<&Document> for Waiting {
    fn from(event: &Document) -> Self {
        let parked = event.get_document("parked").ok().map(|parked| Parked {
            reason: text(parked, "reason"),
            at: time(parked, "at"),
            attempts: parked.get_i64("attempts").ok(),
        });
        let id = match event.get("_id") {
            Some(Bson::ObjectId(id)) => id.to_hex(),
            other => other.map(ToString::to_string).unwrap_or_default(),
        };
        Self {
            id,
            r#type: text(event, "type"),
            key: text(event, "key"),
            version: event.get_i64("version").ok(),
            created_at: time(event, "createdAt"),
            parked,
        }
    }
}

fn text(document: &Document, name: &str) -> Option<String> {
    document.get_str(name).ok().map(str::to_owned)
}

fn time(document: &Document, name: &str) -> Option<String> {
    let time = document.get_datetime(name).ok()?;
    time.try_to_rfc3339_string().ok()
}

/// Stages that count what the stages before them let through.
pub(crate) fn totals() -> [Document; 2] {
    let is_parked = doc! { "$ne": [{ "$type": "$parked" }, "missing"] };
    // A key at a time: its events wait behind the parked one.
    let by_key = doc! { "$group": {
        "_id": "$key",
        "unsent": { "$sum": 1_i64 },
        "parked": { "$sum": { "$cond": [is_parked, 1_i64, 0_i64] } },
        "oldestMs": { "$max": { "$subtract": ["$$NOW", "$createdAt"] } },
    } };
    let is_held_back = doc! { "$gt": ["$parked", 0_i64] };
    let all = doc! { "$group": {
        "_id": null,
        "unsent": { "$sum": "$unsent" },
        "parked": { "$sum": "$parked" },
        "oldestMs": { "$max": "$oldestMs" },
        "oldestWaitingMs": { "$max": { "$cond": [is_held_back, null, "$oldestMs"] } },
    } };
    [by_key, all]
}
