//! Events that can never be published as they are. They are noted in a collection of their own: an event may be so large that nothing
//! can be added to it, and what is noted is read without the payloads.

mod operators;
mod shown;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, oid::ObjectId, rawdoc};
use futures_util::TryStreamExt;
use mongodb::{Collection, IndexModel};

pub use operators::Retry;
use operators::{StandIn, parked_events};
pub use shown::{GivenUp, ParkedEvent};

use super::{EVENTS, unsent};
use crate::{
    Event, Outbox,
    stored::{Stored, assemble, shown, whole_number},
};

pub(super) const PARKED: &str = "parked";
/// Notes of what waits for an operator have no state.
const RETRIED: &str = "retried";
const GIVEN_UP: &str = "given up";
const SKIPPED_AND_TOLD: &str = "skipped";
/// In characters.
const LONGEST_REASON: usize = 1_000;

/// An event that can never be published.
#[derive(Debug)]
pub(crate) struct Unpublishable {
    pub(crate) id: Stored,
    pub(crate) reason: String,
    /// Whether the stream holds another event in its place.
    pub(crate) is_conflict: bool,
}

/// What the publisher has to know of the parked events.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// Nothing of these keys is published.
    pub(crate) keys: HashSet<Stored>,
    /// The ids of those whose keys a query can't name.
    pub(crate) of_other_keys: Vec<Stored>,
    /// What an operator gave another try.
    pub(crate) retried: HashSet<ObjectId>,
    pub(crate) skips: Skips,
}

/// The events that the publisher publishes in place of those that an operator gave up, by id.
pub(crate) type Skips = Arc<HashMap<Stored, Event>>;

impl Parked {
    /// An event of the key is parked, perhaps once more.
    pub(crate) fn add(&mut self, key: Stored, id: Stored) {
        if let Some(id) = id.object_id() {
            self.retried.remove(&id);
        }
        if !key.stands_for_itself() {
            self.of_other_keys.push(id);
        }
        self.keys.insert(key);
    }

    /// Those of the events about which an operator has decided: their notes are to be settled.
    pub(crate) fn decided(&self, events: &[ObjectId]) -> Vec<ObjectId> {
        if self.retried.is_empty() && self.skips.is_empty() {
            return Vec::new();
        }
        let is_skipped = |id: &ObjectId| self.skips.contains_key(&Stored::from(*id));
        let is_decided = |id: &&ObjectId| self.retried.contains(*id) || is_skipped(id);
        events.iter().filter(is_decided).copied().collect()
    }
}

/// What waits for an operator, among all that is noted.
pub(crate) fn waits() -> Document {
    doc! { "state": null }
}

impl Outbox {
    fn parked<T: Send + Sync>(&self) -> Collection<T> {
        self.db.collection(PARKED)
    }

    pub(crate) async fn prepare_parked(&self) -> mongodb::error::Result<()> {
        if !self.publishes {
            // The figures count what is there.
            self.db.need(PARKED, &["find"]);
            return Ok(());
        }
        self.db.need(PARKED, &["remove"]);
        // What was skipped stays for ever, and is not read again.
        let by_state = IndexModel::builder().keys(doc! { "state": 1 }).build();
        self.db.ensure_collection(PARKED, [by_state]).await
    }

    /// Puts an event aside that can never be published. It stays `NO`, and holds back its own key only.
    pub(crate) async fn park(self, it: Unpublishable) -> mongodb::error::Result<()> {
        let one = assemble([("_id", &it.id)]);
        let shown = shown(&one, "_id");
        // It may quote the event.
        let reason: String = it.reason.chars().take(LONGEST_REASON).collect();
        let note = rawdoc! {
            "key": 1, "version": 1, "reason": { "$literal": &*reason }, "conflict": { "$literal": it.is_conflict },
            "at": "$$NOW", "attempts": { "$literal": 1_i64 },
        };
        let again = rawdoc! { "attempts": { "$add": ["$attempts", 1_i64] } };
        // By the server, which takes over whatever stands there.
        let park = rawdoc! {
            "aggregate": EVENTS,
            "pipeline": [
                { "$match": { "$and": [one, RawDocumentBuf::try_from(unsent())?] } },
                { "$project": note },
                { "$merge": { "into": PARKED, "whenMatched": [{ "$replaceWith": { "$mergeObjects": ["$$new", again] } }] } },
            ],
            "cursor": {},
            "writeConcern": { "w": "majority", "j": true },
        };
        let parked = self.db.database().run_raw_cursor_command(park).await?;
        parked.with_type::<RawDocumentBuf>().try_next().await?;
        tracing::error!(
            event.id = shown,
            reason,
            "an event can't be published; it is parked"
        );
        Ok(())
    }

    /// Reads which keys are held back, and what operators decided; and forgets what was noted of events that are not there any more.
    pub(crate) async fn read_parked(self) -> mongodb::error::Result<Parked> {
        let settled = self.sent_though_decided().await?;
        if !settled.is_empty() {
            self.settle_parked(settled).await?;
        }
        // The index alone tells: a payload is not read.
        let event = [
            doc! { "$match": { "$expr": { "$eq": ["$_id", "$$id"] } } },
            doc! { "$project": { "_id": 1 } },
        ];
        let is_gone = doc! { "$eq": ["$event", []] };
        let pipeline = [
            doc! { "$match": { "state": { "$ne": SKIPPED_AND_TOLD } } },
            doc! { "$lookup": {
                "from": EVENTS, "let": { "id": "$_id" }, "pipeline": event.to_vec(), "as": "event",
            } },
            doc! { "$project": { "key": 1, "version": 1, "state": 1, "skip.type": 1, "is_gone": is_gone } },
        ];
        let noted = self.parked::<Document>().aggregate(pipeline).await?;
        let mut noted = noted.with_type::<RawDocumentBuf>();
        let (mut parked, mut skips, mut gone) = (Parked::default(), HashMap::new(), Vec::new());
        while let Some(note) = noted.try_next().await? {
            if note.get_bool("is_gone").unwrap_or_default() {
                let id = note.get("_id").ok().flatten();
                gone.extend(id.and_then(|id| Bson::try_from(id).ok()));
                continue;
            }
            match note.get_str("state") {
                Ok(RETRIED) => parked.retried.extend(note.get_object_id("_id").ok()),
                Ok(GIVEN_UP) => {
                    let Ok(id) = note.get_object_id("_id") else {
                        continue;
                    };
                    let skip = note.get_document("skip").ok();
                    let told_as = skip.and_then(|skip| skip.get_str("type").ok());
                    let event = told_as.and_then(|told_as| skipped_event(&note, told_as));
                    // It is marked, and nothing is published.
                    let silent = || Event::skipped(id, "", String::new(), 0);
                    skips.insert(id.into(), event.unwrap_or_else(silent));
                }
                _ => parked.add(Stored::of(&note, "key"), Stored::of(&note, "_id")),
            }
        }
        if !gone.is_empty() {
            let noted = doc! { "_id": { "$in": gone } };
            self.parked::<Document>().delete_many(noted).await?;
        }
        parked.skips = Arc::new(skips);
        Ok(parked)
    }

    /// Events that operators decided about, and that are marked since: whoever marked them had no time for more.
    async fn sent_though_decided(&self) -> mongodb::error::Result<Vec<ObjectId>> {
        let event = [
            doc! { "$match": { "sent": "YES" } },
            doc! { "$project": { "_id": 1 } },
        ];
        let pipeline = [
            doc! { "$match": { "state": { "$in": [RETRIED, GIVEN_UP] } } },
            doc! { "$lookup": {
                "from": EVENTS, "localField": "_id", "foreignField": "_id", "pipeline": event.to_vec(), "as": "event",
            } },
            doc! { "$match": { "event": { "$ne": [] } } },
            doc! { "$project": { "_id": 1 } },
        ];
        let found = self.parked::<Document>().aggregate(pipeline).await?;
        let found: Vec<RawDocumentBuf> = found.with_type().try_collect().await?;
        let ids = found
            .iter()
            .filter_map(|note| note.get_object_id("_id").ok());
        Ok(ids.collect())
    }

    /// Events that were parked are published: what was noted of them is forgotten, but for why they were skipped.
    pub(crate) async fn settle_parked(&self, ids: Vec<ObjectId>) -> mongodb::error::Result<()> {
        let of_state = |state: Bson| doc! { "_id": { "$in": ids.clone() }, "state": state };
        let parked = self.parked::<Document>();
        let skipped = doc! { "$set": { "state": SKIPPED_AND_TOLD } };
        parked
            .update_many(of_state(GIVEN_UP.into()), skipped)
            .await?;
        let others = of_state(doc! { "$ne": SKIPPED_AND_TOLD }.into());
        parked.delete_many(others).await.map(drop)
    }
}

/// The event that the publisher publishes in place of one that was given up. `None` where the note names no key or version.
fn skipped_event(note: &RawDocument, r#type: &str) -> Option<Event> {
    let id = note.get_object_id("_id").ok()?;
    let key = note.get_str("key").ok().filter(|key| !key.is_empty())?;
    let version = whole_number(note, "version")?;
    Some(Event::skipped(id, r#type, key.to_owned(), version))
}

/// Stages that add to each event why it is parked, where it is.
pub(crate) fn with_parked() -> [Document; 2] {
    let note = [
        doc! { "$match": waits() },
        doc! { "$project": { "_id": 0, "reason": 1, "at": 1, "attempts": 1 } },
    ];
    [
        doc! { "$lookup": {
            "from": PARKED, "localField": "_id", "foreignField": "_id", "pipeline": note.to_vec(), "as": "parked",
        } },
        doc! { "$set": { "parked": { "$first": "$parked" } } },
    ]
}

/// Stages that let only events through whose key nothing parked holds back.
pub(crate) fn without_held_back() -> [Document; 2] {
    let waits = [doc! { "$match": waits() }, doc! { "$limit": 1 }];
    [
        doc! { "$lookup": {
            "from": PARKED, "localField": "key", "foreignField": "key", "pipeline": waits.to_vec(), "as": "held_back",
        } },
        doc! { "$match": { "held_back": [] } },
    ]
}

/// Stages that count what the stages before them let through, with what is parked.
pub(crate) fn totals() -> [Document; 4] {
    let noted = [
        doc! { "$match": waits() },
        doc! { "$project": { "key": 1, "parked": { "$literal": 1_i64 } } },
    ];
    let has_time = doc! { "$eq": [{ "$type": "$createdAt" }, "date"] };
    // A key at a time: its events wait behind the parked one.
    let by_key = doc! { "$group": {
        "_id": "$key",
        "unsent": { "$sum": "$unsent" },
        "parked": { "$sum": "$parked" },
        "oldestMs": { "$max": { "$cond": [has_time, { "$subtract": ["$$NOW", "$createdAt"] }, null] } },
    } };
    let is_held_back = doc! { "$gt": ["$parked", 0_i64] };
    let all = doc! { "$group": {
        "_id": null,
        "unsent": { "$sum": "$unsent" },
        "parked": { "$sum": "$parked" },
        "oldestMs": { "$max": "$oldestMs" },
        "oldestWaitingMs": { "$max": { "$cond": [is_held_back, null, "$oldestMs"] } },
    } };
    [
        doc! { "$project": { "key": 1, "createdAt": 1, "unsent": { "$literal": 1_i64 } } },
        doc! { "$unionWith": { "coll": PARKED, "pipeline": noted.to_vec() } },
        by_key,
        all,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parked_once_more_is_not_being_retried() {
        let (again, other) = (ObjectId::new(), ObjectId::new());
        let mut parked = Parked {
            retried: HashSet::from([again, other]),
            ..Parked::default()
        };
        parked.add(Stored::from("a"), again.into());
        assert_eq!(parked.retried, HashSet::from([other]));
    }
}
