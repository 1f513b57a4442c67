//! How the outbox stands, in the words of its operators.

use bson::{Document, RawDocument};
use serde::Serialize;

use crate::stored::shown;

/// How the outbox stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Events that are not published yet, those that are parked among them.
    pub unsent: i64,
    /// The age of the oldest of them.
    pub oldest_unsent_seconds: Option<f64>,
    /// The same without those that are parked, and without those that wait behind a parked one.
    pub oldest_waiting_seconds: Option<f64>,
    /// Events that can't be published as they are, and wait for an operator.
    pub parked: i64,
    /// Which instance publishes at this moment.
    pub publisher: Option<PublishingInstance>,
}

impl Status {
    /// `totals` are what the outbox counts; none where nothing is unsent.
    pub(crate) fn new(totals: Option<&Document>, publisher: Option<PublishingInstance>) -> Self {
        let figure = |name| totals.and_then(|totals| totals.get_i64(name).ok());
        let seconds = |name| figure(name).map(|ms| ms as f64 / 1000.0);
        Self {
            unsent: figure("unsent").unwrap_or_default(),
            oldest_unsent_seconds: seconds("oldestMs"),
            oldest_waiting_seconds: seconds("oldestWaitingMs"),
            parked: figure("parked").unwrap_or_default(),
            publisher,
        }
    }
}

/// The process that has the publisher's lease.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishingInstance {
    /// `host/pid`.
    pub instance: String,
    /// Grows each time that another instance takes over.
    pub fence: i64,
    /// Since when it publishes, RFC 3339.
    pub since: Option<String>,
}

/// An event that waits, without its payload. What can't be read of it is shown as far as it can be: that may be why it waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub id: String,
    pub r#type: Option<String>,
    pub key: Option<String>,
    pub version: Option<i64>,
    /// RFC 3339, as all times here.
    pub created_at: Option<String>,
    pub parked: Option<WhyParked>,
}

/// Why an event was put aside.
#[derive(Debug, Serialize)]
pub struct WhyParked {
    pub reason: Option<String>,
    pub at: Option<String>,
    /// How often it was tried and parked.
    pub attempts: Option<i64>,
}

impl From<&RawDocument> for Waiting {
    fn from(event: &RawDocument) -> Self {
        let parked = event.get_document("parked").ok().map(|parked| WhyParked {
            reason: shown(parked, "reason"),
            at: time(parked, "at"),
            attempts: parked.get_i64("attempts").ok(),
        });
        Self {
            id: shown(event, "_id").unwrap_or_default(),
            r#type: shown(event, "type"),
            key: shown(event, "key"),
            version: event.get_i64("version").ok(),
            created_at: time(event, "createdAt"),
            parked,
        }
    }
}

pub(crate) fn time(document: &RawDocument, name: &str) -> Option<String> {
    let time = document.get_datetime(name).ok()?;
    time.try_to_rfc3339_string().ok()
}
