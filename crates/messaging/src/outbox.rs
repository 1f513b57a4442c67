//! Every query on the events: here those of an event's life, in the modules below those of what is unsent and of what is parked.

mod backlog;
mod figures;
mod indexes;
mod parked;
mod watch;

use std::time::Duration;

use bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId};
use db::Db;
use futures_util::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Cursor,
    options::{AggregateOptions, Hint},
};

pub(crate) use backlog::{LeftOut, WalkFrom};
pub use figures::read_figures;
pub use parked::{GivenUp, ParkedEvent, Retry};
pub(crate) use parked::{Parked, Skips, Unpublishable};
use parked::{totals, with_parked, without_held_back};
pub(crate) use watch::Watched;

use crate::{Event, Status, Waiting, lease};

const EVENTS: &str = "events";
/// The index that the backlog is read from.
const UNSENT_INDEX: &str = "unsent";
/// Most events that [`Outbox::sampled_status`] reads, and how long that may take.
const SAMPLE: i64 = 100_000;
const SAMPLE_LIMIT: Duration = Duration::from_secs(5);

/// The events of a service, in its database.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(crate) db: Db,
    /// Whether this process publishes, and so parks.
    publishes: bool,
}

/// Events that were given back and are not published yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpublished {
    pub in_turn: u64,
    /// Behind a parked one of their key, until somebody decides about that.
    pub held_back: u64,
}

/// Which events a replay looks at: by their creation, and by their key where there is one.
#[derive(Debug, Clone)]
pub struct Range {
    /// Created at this time or later.
    pub since: DateTime,
    /// Created before this time.
    pub until: DateTime,
    /// Only events of this key; `None` for all.
    pub key: Option<String>,
}

impl Range {
    /// Ids have an index, and begin with the second in which they were made.
    fn first_id(&self) -> ObjectId {
        let seconds = u32::try_from(self.since.timestamp_millis() / 1000).unwrap_or_default();
        let mut id = [0; 12];
        id[..4].copy_from_slice(&seconds.to_be_bytes());
        ObjectId::from_bytes(id)
    }
}

/// Matches the events that are not published yet. Their partial index grows with the backlog, not with the history.
fn unsent() -> Document {
    doc! { "sent": "NO" }
}

/// Events of one key are neighbours, in the order of their versions.
fn in_order() -> Document {
    doc! { "key": 1, "version": 1, "_id": 1 }
}

fn by_unsent_index() -> Hint {
    Hint::Name(UNSENT_INDEX.to_owned())
}

impl Outbox {
    /// Of the service whose database it is. Nothing is read or written yet.
    pub fn new(db: &Db) -> Self {
        Self {
            db: db.clone(),
            publishes: true,
        }
    }

    /// The same for a process that only records events, and leaves the rest to others: it makes and needs less.
    #[must_use]
    pub fn without_publisher(self) -> Self {
        Self {
            publishes: false,
            ..self
        }
    }

    /// Runs `call` to its end in a task of its own, and waits for it for `limit` at most: see [`Db::bounded`].
    pub(crate) async fn bounded<T, F>(
        &self,
        limit: Duration,
        call: impl FnOnce(Self) -> F,
    ) -> mongodb::error::Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.db.bounded(limit, call(self.clone())).await
    }

    fn events<T: Send + Sync>(&self) -> Collection<T> {
        self.db.collection(EVENTS)
    }

    /// Saves the event in the caller's transaction.
    ///
    /// # Errors
    /// The driver's, for the transaction to see.
    pub async fn record(
        &self,
        session: &mut ClientSession,
        event: &Event,
    ) -> mongodb::error::Result<()> {
        let events = self.events::<Event>();
        events.insert_one(event).session(session).await.map(drop)
    }

    /// Whether an event is there.
    pub(crate) async fn holds(
        self,
        id: ObjectId,
        key: String,
        version: i64,
    ) -> mongodb::error::Result<bool> {
        let events = self.events::<Document>();
        let found = events
            .find_one(doc! { "_id": id, "key": key, "version": version })
            .projection(doc! { "_id": 1 });
        Ok(found.await?.is_some())
    }

    /// When an event was published last, of those that are kept.
    pub(crate) async fn last_sent(self) -> mongodb::error::Result<Option<DateTime>> {
        let events = self.events::<Document>();
        let any = doc! { "sentAt": { "$gt": DateTime::MIN } };
        let last = events.find_one(any).sort(doc! { "sentAt": -1 });
        let last = last.projection(doc! { "_id": 0, "sentAt": 1 }).await?;
        Ok(last.and_then(|last| last.get_datetime("sentAt").ok().copied()))
    }

    /// Marks published events as sent.
    pub(crate) async fn mark(&self, ids: &[ObjectId]) -> mongodb::error::Result<()> {
        let update = doc! {
            "$set": { "sent": "YES" }, "$currentDate": { "sentAt": true },
            "$unset": { "replay": "" },
        };
        let of_ids = doc! { "_id": { "$in": ids } };
        let events = self.events::<Document>();
        events.update_many(of_ids, update).await.map(drop)
    }

    /// How many events are unsent and parked, how old the oldest is, and who publishes.
    ///
    /// # Errors
    /// The driver's.
    pub async fn status(&self) -> mongodb::error::Result<Status> {
        self.read_status(None, None).await
    }

    /// The same, but counts 100,000 unsent events at most, in the order of their keys. So it costs the same however long an outage lasts.
    /// The server gives it up after 5 s.
    ///
    /// # Errors
    /// The driver's, or a time-out.
    pub async fn sampled_status(&self) -> mongodb::error::Result<Status> {
        let sampled = |outbox: Self| async move {
            outbox.read_status(Some(SAMPLE), Some(SAMPLE_LIMIT)).await
        };
        self.bounded(SAMPLE_LIMIT * 2, sampled).await
    }

    async fn read_status(
        &self,
        most: Option<i64>,
        limit: Option<Duration>,
    ) -> mongodb::error::Result<Status> {
        let mut pipeline = vec![doc! { "$match": unsent() }];
        if let Some(most) = most {
            pipeline.push(doc! { "$sort": in_order() });
            pipeline.push(doc! { "$limit": most });
        }
        pipeline.extend(totals());
        let options = AggregateOptions::builder()
            .hint(by_unsent_index())
            .max_time(limit)
            .build();
        let events = self.events::<Document>();
        let groups = events.aggregate(pipeline).with_options(options);
        let groups: Vec<Document> = groups.await?.try_collect().await?;
        let publisher = lease::publishing_instance(&self.db).await?;
        Ok(Status::new(groups.first(), publisher))
    }

    /// Unsent events, or the parked ones among them, in the order in which they are published.
    ///
    /// # Errors
    /// The driver's.
    pub async fn list(
        &self,
        only_parked: bool,
        limit: i64,
    ) -> mongodb::error::Result<Vec<Waiting>> {
        if only_parked {
            return self.list_parked(limit).await;
        }
        let mut pipeline = vec![
            doc! { "$match": unsent() },
            doc! { "$sort": in_order() },
            doc! { "$limit": limit },
            doc! { "$project": { "data": 0 } },
        ];
        pipeline.extend(with_parked());
        let events = self.events::<Document>();
        let found = events.aggregate(pipeline).hint(by_unsent_index());
        let found: Vec<RawDocumentBuf> = found.await?.with_type().try_collect().await?;
        Ok(found.iter().map(|it| Waiting::from(&**it)).collect())
    }

    /// Events of the range that are marked as sent: id, type, key, version, and when.
    pub(crate) async fn sent(
        &self,
        range: &Range,
    ) -> mongodb::error::Result<Cursor<RawDocumentBuf>> {
        let mut filter = doc! {
            "_id": { "$gte": range.first_id() },
            "createdAt": { "$gte": range.since, "$lt": range.until },
            "sent": "YES",
        };
        if let Some(key) = &range.key {
            filter.insert("key", key);
        }
        let needed = doc! { "type": 1, "key": 1, "version": 1, "sentAt": 1 };
        let events = self.events::<RawDocumentBuf>();
        events.find(filter).projection(needed).await
    }

    /// Takes the marks of lost events back, in the caller's transaction.
    pub(crate) async fn give_back(
        &self,
        session: &mut ClientSession,
        ids: &[ObjectId],
    ) -> mongodb::error::Result<()> {
        let lost = doc! { "_id": { "$in": ids }, "sent": "YES" };
        let update = doc! { "$set": { "sent": "NO", "replay": true }, "$unset": { "sentAt": "" } };
        let events = self.events::<Document>();
        let given_back = events.update_many(lost, update).session(session);
        given_back.await.map(drop)
    }

    /// How many of these events wait to be published.
    pub(crate) async fn count_waiting(
        &self,
        ids: &[ObjectId],
    ) -> mongodb::error::Result<Unpublished> {
        let mut waiting = unsent();
        waiting.insert("_id", doc! { "$in": ids });
        let all = vec![doc! { "$match": waiting }];
        let in_turn = all.iter().cloned().chain(without_held_back());
        // First: what is published meanwhile is not held back.
        let in_turn = self.count(&self.events(), in_turn.collect()).await?;
        let all = self.count(&self.events(), all).await?;
        Ok(Unpublished {
            in_turn,
            held_back: all.saturating_sub(in_turn),
        })
    }

    /// How many documents the stages let through.
    async fn count(
        &self,
        of: &Collection<Document>,
        mut stages: Vec<Document>,
    ) -> mongodb::error::Result<u64> {
        stages.push(doc! { "$count": "count" });
        let counted = of.aggregate(stages).await?.try_next().await?;
        let count = counted.and_then(|counted| counted.get_i32("count").ok());
        Ok(count.map_or(0, i32::unsigned_abs).into())
    }
}
