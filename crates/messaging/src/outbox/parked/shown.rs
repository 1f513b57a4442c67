//! What a page shows of parked events, at a cost that does not grow with how many there are; and how it gives one up.

use anyhow::ensure;
use bson::{Document, RawDocument, RawDocumentBuf, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use serde::Serialize;

use super::{LONGEST_REASON, StandIn, parked_events};
use crate::{
    Event, EventType, JetStream, Outbox, Waiting,
    outbox::{EVENTS, unsent},
    stored::{as_json, shortened},
};

/// A parked event as a page shows it: its texts are cut, whatever somebody has written.
#[derive(Debug, Serialize)]
pub struct ParkedEvent {
    /// What decides about it names it so: `None` where its `_id` is no `ObjectId`, and only a hand can help.
    pub event: Option<String>,
    #[serde(flatten)]
    pub shown: Waiting,
}

impl ParkedEvent {
    fn of(event: &RawDocument) -> Self {
        let mut shown = Waiting::from(event);
        for text in [&mut shown.r#type, &mut shown.key] {
            *text = text.as_deref().map(shortened);
        }
        shown.id = shortened(&shown.id);
        if let Some(parked) = &mut shown.parked {
            let reason = parked.reason.take();
            parked.reason = reason.map(|reason| reason.chars().take(LONGEST_REASON).collect());
        }
        let event = event.get_object_id("_id").ok().map(ObjectId::to_hex);
        Self { event, shown }
    }
}

/// What became of an event that an operator gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenUp {
    /// No such event is parked.
    NotParked,
    /// Consumers can't be told.
    InSilence,
    /// Consumers are told by a message of this type.
    ToldAs(String),
}

impl Outbox {
    /// Some of the parked events, `most` at most, those first that have been parked longest.
    ///
    /// # Errors
    /// The driver's.
    pub async fn first_parked(&self, most: i64) -> mongodb::error::Result<Vec<ParkedEvent>> {
        let mut pipeline = parked_events(None);
        // Before the events are looked up.
        pipeline.insert(1, doc! { "$limit": most });
        let note = doc! { "reason": "$reason", "at": "$at", "attempts": "$attempts" };
        let of_event = doc! { "_id": "$_id", "key": "$key", "version": "$version", "parked": note };
        pipeline.push(doc! { "$replaceWith": { "$mergeObjects": ["$event", of_event] } });
        let found = self.parked::<Document>().aggregate(pipeline).await?;
        let found: Vec<RawDocumentBuf> = found.with_type().try_collect().await?;
        Ok(found.iter().map(|it| ParkedEvent::of(it)).collect())
    }

    /// The payload of an event that is not published, as JSON.
    ///
    /// # Errors
    /// The driver's.
    pub async fn payload(&self, id: ObjectId) -> mongodb::error::Result<Option<String>> {
        let mut one = unsent();
        one.insert("_id", id);
        let events = self.db.collection::<RawDocumentBuf>(EVENTS);
        let data = doc! { "_id": 0, "data": 1 };
        let event = events.find_one(one).projection(data).await?;
        Ok(event.map(|event| as_json(&event, "data")))
    }

    /// Gives a parked event up, for a reason that is kept: the publisher publishes in its place what tells consumers of it. `connect` is asked
    /// for the stream where that has to take it.
    ///
    /// # Errors
    /// The driver's, or that consumers could not be told.
    pub async fn give_up(
        &self,
        types: &[EventType],
        (id, reason): (ObjectId, &str),
        connect: impl AsyncFnOnce() -> anyhow::Result<JetStream>,
    ) -> anyhow::Result<GivenUp> {
        let told_as = match self.stand_in(id, types).await? {
            None => return Ok(GivenUp::NotParked),
            Some(StandIn::Event(event)) => told_as(&connect().await?, event).await?,
            Some(StandIn::None) => None,
        };
        if !self.skip(id, reason, told_as.as_deref()).await? {
            return Ok(GivenUp::NotParked);
        }
        Ok(told_as.map_or(GivenUp::InSilence, GivenUp::ToldAs))
    }
}

/// The type of the message that tells of a skipped event, or that none can.
async fn told_as(jetstream: &JetStream, stand_in: Event) -> anyhow::Result<Option<String>> {
    if !jetstream.is_possible(&stand_in) {
        return Ok(None);
    }
    let told_as = stand_in.r#type;
    ensure!(
        jetstream.takes(&told_as).await?,
        "the stream does not take {told_as}.*, so consumers could not be told: add that to its subjects"
    );
    Ok(Some(told_as))
}
