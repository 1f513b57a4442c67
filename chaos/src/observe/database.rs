//! What the database holds.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use bson::{RawDocumentBuf, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use mongodb::Database;
use serde_json::Value;

use crate::{
    clock::Clock,
    domain::Service,
    history::{Answer, Document, Event, StoredAnswer},
};

/// What the publisher has noted of events that can't be published, or were given up.
struct Notes {
    parked: HashSet<ObjectId>,
    /// Those of them that are text: nothing of these is published.
    keys: Vec<String>,
    skipped: HashSet<ObjectId>,
}

async fn notes(database: &Database) -> anyhow::Result<Notes> {
    let mut notes = Notes {
        parked: HashSet::new(),
        keys: Vec::new(),
        skipped: HashSet::new(),
    };
    for note in raw(database, "parked").await? {
        let Ok(id) = note.get_object_id("_id") else {
            continue;
        };
        match note.get_str("state") {
            Ok("given up" | "skipped") => {
                notes.skipped.insert(id);
            }
            Ok(_) => {}
            Err(_) => {
                notes.parked.insert(id);
                notes
                    .keys
                    .extend(note.get_str("key").map(ToOwned::to_owned));
            }
        }
    }
    Ok(notes)
}

/// How many events are unsent of keys that are not parked.
pub(super) async fn waiting(database: &Database) -> anyhow::Result<u64> {
    let notes = notes(database).await?;
    let parked: Vec<_> = notes.parked.into_iter().collect();
    let waits = doc! { "sent": "NO", "key": { "$nin": notes.keys }, "_id": { "$nin": parked } };
    let events = database.collection::<bson::Document>("events");
    Ok(events.count_documents(waits).await?)
}

pub(super) async fn documents(
    database: &Database,
    service: Service,
) -> anyhow::Result<Vec<Document>> {
    let stored = raw(database, service.collection).await?;
    let document = |raw: &RawDocumentBuf| (service.document)(&bson::Document::try_from(raw)?);
    stored.iter().map(document).collect()
}

/// All but those that were planted and can't be read.
pub(super) async fn events(
    database: &Database,
    clock: Clock,
    planted: &HashSet<&str>,
) -> anyhow::Result<Vec<Event>> {
    let notes = notes(database).await?;
    let mut events = Vec::new();
    for stored in raw(database, "events").await? {
        let id = stored.get_object_id("_id")?;
        match event(&stored, id, clock, &notes) {
            Ok(event) => events.push(event),
            Err(_) if planted.contains(id.to_hex().as_str()) => {}
            Err(error) => return Err(error.context(format!("event {id}"))),
        }
    }
    Ok(events)
}

fn event(
    stored: &RawDocumentBuf,
    id: ObjectId,
    clock: Clock,
    notes: &Notes,
) -> anyhow::Result<Event> {
    let document = bson::Document::try_from(stored.as_ref())?;
    let text = |name: &str| document.get_str(name).ok().map(ToOwned::to_owned);
    let created_at = document.get_datetime("createdAt")?;
    Ok(Event {
        id: id.to_hex(),
        r#type: document.get_str("type")?.to_owned(),
        subject: document.get_str("subject")?.to_owned(),
        key: document.get_str("key")?.to_owned(),
        version: document.get_i64("version")?,
        data: serde_json::to_value(document.get_document("data")?)?,
        traceparent: text("traceparent"),
        tracestate: text("tracestate"),
        made_ms: created_at.timestamp_millis(),
        made: created_at.try_to_rfc3339_string()?,
        made_at_ms: clock.ms_of(created_at.to_system_time()),
        is_sent: document.get_str("sent")? == "YES",
        is_parked: notes.parked.contains(&id),
        is_skipped: notes.skipped.contains(&id),
    })
}

/// What is stored of answers with an `Idempotency-Key`.
pub(super) async fn answers(database: &Database) -> anyhow::Result<Vec<StoredAnswer>> {
    #[derive(serde::Deserialize)]
    struct Id {
        key: String,
    }
    #[derive(serde::Deserialize)]
    struct Given {
        status: u16,
        #[serde(default)]
        headers: HashMap<String, String>,
        body: String,
    }
    #[derive(serde::Deserialize)]
    struct Stored {
        _id: Id,
        answer: Option<Given>,
    }
    let mut answers = Vec::new();
    for stored in raw(database, "answers").await? {
        let Stored { _id: id, answer } = bson::deserialize_from_slice(stored.as_bytes())?;
        let given = answer.with_context(|| format!("key {} has no answer", id.key))?;
        let header = |name: &str| given.headers.get(name).cloned();
        answers.push(StoredAnswer {
            trace: id.key,
            answer: Answer {
                status: given.status,
                etag: header("etag"),
                location: header("location"),
                body: serde_json::from_str::<Value>(&given.body)?,
            },
        });
    }
    Ok(answers)
}

/// Every document of a collection, readable or not.
async fn raw(database: &Database, collection: &str) -> anyhow::Result<Vec<RawDocumentBuf>> {
    let collection = database.collection(collection);
    Ok(collection.find(doc! {}).await?.try_collect().await?)
}
