//! What operators decide about parked events: another try, or to give one up.

use std::collections::HashSet;

use bson::{Document, RawDocumentBuf, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use mongodb::ClientSession;

use super::{GIVEN_UP, PARKED, RETRIED, SKIPPED_AND_TOLD, skipped_event, waits};
use crate::{
    Event, EventType, Outbox, Waiting,
    event::SKIPPED,
    outbox::{EVENTS, in_order},
    stored::shown,
};

/// Which parked events get another try.
#[derive(Debug, Clone, Copy)]
pub enum Retry {
    /// The one of this id.
    One(ObjectId),
    /// All that wait for an operator.
    AllParked,
}

/// What would tell the consumers of a parked event that it is given up.
pub(crate) enum StandIn {
    Event(Event),
    /// Nothing could: the stream holds another event in its place, or nobody can tell what it is of.
    None,
}

impl Outbox {
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
        let count = self.count(&parked, parked_events(one)).await?;
        let tried_again = [
            doc! { "$project": { "state": { "$literal": RETRIED } } },
            doc! { "$merge": { "into": PARKED } },
        ];
        let mut tried = parked
            .aggregate(parked_events(one).into_iter().chain(tried_again))
            .await?;
        tried.try_next().await?;
        Ok(count)
    }

    /// What stands for a parked event, one of `types`, that is to be given up. `None` where no such event is parked.
    pub(crate) async fn stand_in(
        &self,
        id: ObjectId,
        types: &[EventType],
    ) -> mongodb::error::Result<Option<StandIn>> {
        let parked = self.parked::<Document>();
        let mut found = parked.aggregate(parked_events(Some(id))).await?.with_type();
        let Some::<RawDocumentBuf>(note) = found.try_next().await? else {
            return Ok(None);
        };
        let is_conflict = note.get_bool("conflict").unwrap_or_default();
        let event = note.get_document("event").ok();
        let r#type = event.and_then(|event| shown(event, "type"));
        let noun = EventType::noun_of(types, &r#type.unwrap_or_default());
        let noun = noun.filter(|_| !is_conflict);
        let event = noun.and_then(|noun| skipped_event(&note, &format!("{noun}.{SKIPPED}")));
        Ok(Some(event.map_or(StandIn::None, StandIn::Event)))
    }

    /// Events that were skipped, and that nobody was told of: no message is of them.
    pub(crate) async fn skipped_in_silence(&self) -> mongodb::error::Result<HashSet<ObjectId>> {
        let silent = doc! { "state": SKIPPED_AND_TOLD, "skip.type": null };
        let notes = self.parked::<RawDocumentBuf>();
        let found = notes.find(silent);
        let found = found.projection(doc! { "_id": 1 }).await?;
        let ids = found.try_filter_map(async |note| Ok(note.get_object_id("_id").ok()));
        ids.try_collect().await
    }

    /// Events that were skipped and are given back are told of again as skipped, in the caller's transaction.
    pub(crate) async fn skip_again(
        &self,
        session: &mut ClientSession,
        ids: &[ObjectId],
    ) -> mongodb::error::Result<()> {
        let skipped = doc! { "_id": { "$in": ids }, "state": SKIPPED_AND_TOLD };
        let given_up = doc! { "$set": { "state": GIVEN_UP } };
        let notes = self.parked::<Document>();
        let changed = notes.update_many(skipped, given_up).session(session);
        changed.await.map(drop)
    }

    /// Gives a parked event up, for a reason that is kept, and wakes the publisher, which publishes a message of the type `told_as`
    /// in its place. Whether it was parked.
    pub(crate) async fn skip(
        &self,
        id: ObjectId,
        reason: &str,
        told_as: Option<&str>,
    ) -> mongodb::error::Result<bool> {
        let mut parked = waits();
        parked.insert("_id", id);
        let skip = doc! { "$literal": { "reason": reason, "type": told_as } };
        let skip = doc! { "$mergeObjects": [skip, { "at": "$$NOW" }] };
        let given_up = vec![doc! { "$set": { "state": GIVEN_UP, "skip": skip } }];
        let notes = self.parked::<Document>();
        let changed = notes.update_one(parked, given_up).await?;
        Ok(changed.modified_count > 0)
    }
}

/// Stages that read what is parked, or one of it, with its event; not what is gone. Somebody may have marked it by hand: a decision
/// about that one settles its note.
pub(super) fn parked_events(one: Option<ObjectId>) -> Vec<Document> {
    let event = [doc! { "$project": { "_id": 0, "type": 1, "createdAt": 1 } }];
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
