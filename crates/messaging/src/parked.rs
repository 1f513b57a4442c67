//! Events that can never be published as they are. They are noted in a collection of their own: an event may be so large that nothing
//! can be added to it, and what is noted is read without the payloads.

use std::collections::HashSet;

use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId, rawdoc};
use futures_util::TryStreamExt;
use mongodb::Collection;

use crate::{
    Outbox, Waiting,
    outbox::{EVENTS, in_order, unsent},
    stored::{Stored, assemble, shown},
};

pub(crate) const PARKED: &str = "parked";

/// Which parked events get another try.
#[derive(Debug, Clone, Copy)]
pub enum Retry {
    One(ObjectId),
    AllParked,
}

/// What is parked, as the publisher needs it.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// Nothing of these keys is published.
    pub(crate) keys: HashSet<Stored>,
    /// Whether an operator gave some another try.
    pub(crate) some_are_tried_again: bool,
}

/// What waits for an operator, among all that is noted.
pub(crate) fn waits() -> Document {
    doc! { "retry": { "$exists": false } }
}

impl Outbox {
    fn parked<T: Send + Sync>(&self) -> Collection<T> {
        self.db.collection(PARKED)
    }

    pub(crate) async fn prepare_parked(&self) -> mongodb::error::Result<()> {
        self.db.ensure_collection(PARKED, []).await
    }

    /// Puts an event aside that can never be published. It stays `NO`, and holds back its own key only.
    pub(crate) async fn park(self, id: Stored, reason: String) -> mongodb::error::Result<()> {
        let one = assemble([("_id", &id)]);
        let shown = shown(&one, "_id");
        tracing::error!(
            event.id = shown,
            reason,
            "an event can't be published; it is parked"
        );
        let note = rawdoc! {
            "key": 1, "version": 1, "reason": { "$literal": reason }, "at": "$$NOW", "attempts": { "$literal": 1_i64 },
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
            "writeConcern": { "w": "majority" },
        };
        let parked = self.db.database().run_raw_cursor_command(park).await?;
        parked
            .with_type::<RawDocumentBuf>()
            .try_next()
            .await
            .map(drop)
    }

    /// Reads which keys are held back, and forgets what was noted of events that are not there any more.
    pub(crate) async fn read_parked(self) -> mongodb::error::Result<Parked> {
        // The unique index alone tells: a payload is not read.
        let is_its =
            doc! { "$and": [{ "$eq": ["$key", "$$key"] }, { "$eq": ["$version", "$$version"] }] };
        let event = [
            doc! { "$match": { "$expr": is_its } },
            doc! { "$project": { "_id": 0, "key": 1 } },
        ];
        let pipeline = [
            doc! { "$lookup": {
                "from": EVENTS, "let": { "key": "$key", "version": "$version" }, "pipeline": event.to_vec(), "as": "event",
            } },
            doc! { "$project": { "key": 1, "retry": 1, "is_gone": { "$eq": ["$event", []] } } },
        ];
        let noted = self.parked::<Document>().aggregate(pipeline).await?;
        let mut noted = noted.with_type::<RawDocumentBuf>();
        let (mut parked, mut gone) = (Parked::default(), Vec::new());
        while let Some(note) = noted.try_next().await? {
            if note.get_bool("is_gone").unwrap_or_default() {
                let id = note.get("_id").ok().flatten();
                gone.extend(id.and_then(|id| Bson::try_from(id).ok()));
            } else if matches!(note.get("retry"), Ok(Some(_))) {
                parked.some_are_tried_again = true;
            } else {
                parked.keys.insert(Stored::of(&note, "key"));
            }
        }
        if !gone.is_empty() {
            self.forget_parked(gone).await?;
        }
        Ok(parked)
    }

    /// Forgets that events were parked: they are published, or gone.
    pub(crate) async fn forget_parked(&self, ids: Vec<Bson>) -> mongodb::error::Result<()> {
        let noted = doc! { "_id": { "$in": ids } };
        self.parked::<Document>().delete_many(noted).await.map(drop)
    }

    /// The parked events, in the order in which they would be published.
    pub(crate) async fn list_parked(&self, limit: i64) -> mongodb::error::Result<Vec<Waiting>> {
        let note = doc! { "reason": "$reason", "at": "$at", "attempts": "$attempts" };
        let of_event = doc! { "_id": "$_id", "key": "$key", "version": "$version", "parked": note };
        let mut pipeline = parked_events(None);
        pipeline.extend([
            doc! { "$sort": in_order() },
            doc! { "$limit": limit },
            doc! { "$replaceWith": { "$mergeObjects": ["$event", of_event] } },
        ]);
        let found = self.parked::<Document>().aggregate(pipeline).await?;
        let found: Vec<RawDocumentBuf> = found.with_type().try_collect().await?;
        Ok(found.iter().map(|it| Waiting::from(&**it)).collect())
    }

    /// Gives parked events another try, which wakes the publisher; how many. Their attempts go on being counted.
    ///
    /// # Errors
    /// The driver's.
    pub async fn retry(&self, which: Retry) -> mongodb::error::Result<u64> {
        let one = match which {
            Retry::One(id) => Some(id),
            Retry::AllParked => None,
        };
        let parked = self.parked::<Document>();
        let count = doc! { "$count": "count" };
        let mut counted = parked
            .aggregate(parked_events(one).into_iter().chain([count]))
            .await?;
        let counted = counted.try_next().await?;
        let tried_again = [
            doc! { "$project": { "retry": { "$literal": true } } },
            doc! { "$merge": { "into": PARKED } },
        ];
        let mut tried = parked
            .aggregate(parked_events(one).into_iter().chain(tried_again))
            .await?;
        tried.try_next().await?;
        let count = counted.and_then(|counted| counted.get_i32("count").ok());
        Ok(count.map_or(0, i32::unsigned_abs).into())
    }
}

/// Stages that read what is parked, or one of it, with its event; not what is parked no more, because somebody mended it by hand.
fn parked_events(one: Option<ObjectId>) -> Vec<Document> {
    let event = [
        doc! { "$match": unsent() },
        doc! { "$project": { "_id": 0, "type": 1, "createdAt": 1 } },
    ];
    let mut filter = waits();
    if let Some(id) = one {
        filter.insert("_id", id);
    }
    vec![
        doc! { "$match": filter },
        doc! { "$lookup": {
            "from": EVENTS, "localField": "_id", "foreignField": "_id", "pipeline": event.to_vec(), "as": "event",
        } },
        doc! { "$unwind": "$event" },
    ]
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
