//! What operators ask of the outbox: how it stands, what waits, and another try for what was parked.
//! Every query reads the index of unsent events: it costs the backlog, never the history.

use std::time::Duration;

use bson::{Bson, Document, doc, oid::ObjectId};
use db::Db;
use futures_util::TryStreamExt;
use mongodb::{
    Collection,
    error::Result as MongoResult,
    options::{AggregateOptions, Hint},
};
use serde::Serialize;

use super::{
    event::{EVENTS, UNSENT_INDEX},
    lease,
};

/// Most events that [`sampled_status`] reads, and how long that may take.
const SAMPLE: i64 = 100_000;
const SAMPLE_LIMIT: Duration = Duration::from_secs(5);

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

/// Which parked events get another try.
#[derive(Debug, Clone, Copy)]
pub enum Retry {
    One(ObjectId),
    AllParked,
}

/// # Errors
/// The driver's.
pub async fn status(db: &Db) -> MongoResult<Status> {
    read_status(db, None, None).await
}

/// The same of at most 100,000 unsent events, those of the oldest keys: it costs the same however long an outage lasts.
/// The server gives it up after 5 s.
///
/// # Errors
/// The driver's, or a time-out.
pub async fn sampled_status(db: &Db) -> MongoResult<Status> {
    let asked = db.clone();
    let status = async move { read_status(&asked, Some(SAMPLE), Some(SAMPLE_LIMIT)).await };
    db.bounded(SAMPLE_LIMIT * 2, status).await
}

async fn read_status(db: &Db, most: Option<i64>, limit: Option<Duration>) -> MongoResult<Status> {
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
    let mut pipeline = vec![doc! { "$match": { "sent": "NO" } }];
    if let Some(most) = most {
        pipeline.push(doc! { "$sort": { "key": 1, "version": 1, "_id": 1 } });
        pipeline.push(doc! { "$limit": most });
    }
    pipeline.extend([by_key, all]);
    let options = AggregateOptions::builder()
        .hint(unsent())
        .max_time(limit)
        .build();
    let groups: Vec<Document> = events(db)
        .aggregate(pipeline)
        .with_options(options)
        .await?
        .try_collect()
        .await?;
    let count = |name| groups.first().and_then(|group| group.get_i64(name).ok());
    let publisher = lease::holder(db).await?;
    Ok(Status {
        unsent: count("unsent").unwrap_or_default(),
        oldest_unsent_seconds: count("oldestMs").map(|ms| ms as f64 / 1000.0),
        oldest_waiting_seconds: count("oldestWaitingMs").map(|ms| ms as f64 / 1000.0),
        parked: count("parked").unwrap_or_default(),
        publisher: publisher.map(|(instance, fence)| PublishingInstance { instance, fence }),
    })
}

/// Unsent events, or the parked ones among them, in the order in which they are published.
///
/// # Errors
/// The driver's.
pub async fn list(db: &Db, only_parked: bool, limit: i64) -> MongoResult<Vec<Waiting>> {
    let mut filter = doc! { "sent": "NO" };
    if only_parked {
        filter.insert("parked", doc! { "$exists": true });
    }
    let found: Vec<Document> = events(db)
        .find(filter)
        .hint(unsent())
        .sort(doc! { "key": 1, "version": 1, "_id": 1 })
        .projection(doc! { "data": 0 })
        .limit(limit)
        .await?
        .try_collect()
        .await?;
    Ok(found.iter().map(waiting).collect())
}

/// Takes events out of the park, which rings the doorbell; how many. Their attempts go on being counted.
///
/// # Errors
/// The driver's.
pub async fn retry(db: &Db, which: Retry) -> MongoResult<u64> {
    let mut filter = doc! { "sent": "NO", "parked": { "$exists": true } };
    if let Retry::One(id) = which {
        filter.insert("_id", id);
    }
    let update = [
        doc! { "$set": { "attempts": "$parked.attempts" } },
        doc! { "$unset": "parked" },
    ];
    Ok(events(db)
        .update_many(filter, update.to_vec())
        .await?
        .modified_count)
}

fn events(db: &Db) -> Collection<Document> {
    db.collection(EVENTS)
}

fn unsent() -> Hint {
    Hint::Name(UNSENT_INDEX.to_owned())
}

fn waiting(event: &Document) -> Waiting {
    let parked = event.get_document("parked").ok().map(|parked| Parked {
        reason: text(parked, "reason"),
        at: time(parked, "at"),
        attempts: parked.get_i64("attempts").ok(),
    });
    let id = match event.get("_id") {
        Some(Bson::ObjectId(id)) => id.to_hex(),
        other => other.map(ToString::to_string).unwrap_or_default(),
    };
    Waiting {
        id,
        r#type: text(event, "type"),
        key: text(event, "key"),
        version: event.get_i64("version").ok(),
        created_at: time(event, "createdAt"),
        parked,
    }
}

fn text(document: &Document, name: &str) -> Option<String> {
    document.get_str(name).ok().map(str::to_owned)
}

fn time(document: &Document, name: &str) -> Option<String> {
    document
        .get_datetime(name)
        .ok()?
        .try_to_rfc3339_string()
        .ok()
}
