//! The event as it is recorded, and its collection.

use std::time::Duration;

use bson::{DateTime, RawDocumentBuf, doc, oid::ObjectId};
use db::{Db, error_code};
use mongodb::{ClientSession, IndexModel, error::Result as MongoResult, options::IndexOptions};
use serde::{Deserialize, Serialize};

use crate::sabotage;

pub(super) const EVENTS: &str = "events";
/// The index that the backlog is read from.
pub(super) const UNSENT_INDEX: &str = "unsent";

/// A fact that the rest of the world has to hear of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Also the message's `Nats-Msg-Id`: the same in every attempt.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// In the past tense, such as `ticket.created`.
    pub r#type: String,
    pub subject: String,
    /// What the event is about; events of one key are published in the order of their versions.
    pub key: String,
    /// Grows by one with each event of the key, from 0.
    pub version: i64,
    /// The payload, never taken apart: it goes from the database to the message as it is.
    pub data: RawDocumentBuf,
    pub sent: Sent,
    pub created_at: DateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Whether an operator gave it back because the broker had lost it: see [`super::replay`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
}

/// Whether the broker acknowledged the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    #[serde(rename = "NO")]
    No,
    #[serde(rename = "YES")]
    Yes,
}

impl Event {
    /// A new event, to be recorded; its subject is `<type>.<key>`. Id and time are made outside a transaction,
    /// which may be tried more than once.
    pub fn new(
        (id, created_at): (ObjectId, DateTime),
        r#type: &str,
        key: String,
        version: i64,
        data: RawDocumentBuf,
        traceparent: Option<String>,
    ) -> Self {
        Self {
            id,
            r#type: r#type.to_owned(),
            subject: format!("{type}.{key}"),
            key,
            version,
            data,
            sent: Sent::No,
            created_at,
            traceparent,
            replay: false,
        }
    }
}

/// Saves the event in the caller's transaction.
///
/// # Errors
/// The driver's, for the transaction to see.
pub async fn record(db: &Db, session: &mut ClientSession, event: &Event) -> MongoResult<()> {
    let events = db.collection::<Event>(EVENTS);
    let insert = events.insert_one(event);
    match sabotage::is("event-outside-transaction") {
        true => insert.await.map(drop),
        false => insert.session(session).await.map(drop),
    }
}

/// Makes the collection and its indexes; `retention` counts from the publication.
///
/// # Errors
/// The driver's.
pub async fn prepare(db: &Db, retention: Duration) -> MongoResult<()> {
    const INDEX_OPTIONS_CONFLICT: i32 = 85;
    let unsent = IndexOptions::builder()
        .name(UNSENT_INDEX.to_owned())
        .partial_filter_expression(doc! { "sent": "NO" })
        .build();
    let unsent = IndexModel::builder()
        .keys(doc! { "key": 1, "version": 1, "_id": 1 })
        .options(unsent)
        .build();
    let unique = IndexOptions::builder().unique(true).build();
    let once = IndexModel::builder()
        .keys(doc! { "key": 1, "version": 1 })
        .options(unique)
        .build();
    db.ensure_collection(EVENTS, [unsent, once]).await?;

    let expires = IndexOptions::builder().expire_after(retention).build();
    let expires = IndexModel::builder()
        .keys(doc! { "sentAt": 1 })
        .options(expires)
        .build();
    match db
        .collection::<RawDocumentBuf>(EVENTS)
        .create_index(expires)
        .await
    {
        Err(error) if error_code(&error) == Some(INDEX_OPTIONS_CONFLICT) => {
            // It is there with another retention.
            let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
            let index = doc! { "keyPattern": { "sentAt": 1 }, "expireAfterSeconds": seconds };
            db.database()
                .run_command(doc! { "collMod": EVENTS, "index": index })
                .await
                .map(drop)
        }
        other => other.map(drop),
    }
}
