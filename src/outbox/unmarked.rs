//! What the broker acknowledged and the database does not know of yet.

use std::{collections::HashSet, future::pending, time::Instant};

use bson::{RawDocumentBuf, doc, oid::ObjectId};
use db::Db;
use metrics::histogram;
use mongodb::{Collection, error::Result as MongoResult};

use super::{event::EVENTS, timing::Timing};
use crate::metrics::MARK_SIZE;

/// A mark costs a majority write, however many events it is of.
pub(super) const LARGEST_MARK: usize = 1_000;

/// Events that are published and wait to be marked. When they are lost, the next sweep publishes them again,
/// and the stream takes none of them twice.
pub(super) struct Unmarked {
    db: Db,
    timing: Timing,
    ids: HashSet<ObjectId>,
    /// When the first of them came.
    since: Instant,
    last_mark_failed: bool,
}

impl Unmarked {
    pub(super) fn new(db: &Db, timing: Timing) -> Self {
        Self {
            db: db.clone(),
            timing,
            ids: HashSet::new(),
            since: Instant::now(),
            last_mark_failed: false,
        }
    }

    pub(super) fn ids(&self) -> &HashSet<ObjectId> {
        &self.ids
    }

    pub(super) fn add(&mut self, ids: Vec<ObjectId>) {
        if self.ids.is_empty() {
            self.since = Instant::now();
        }
        self.ids.extend(ids);
    }

    pub(super) fn last_mark_failed(&self) -> bool {
        self.last_mark_failed
    }

    pub(super) fn is_due(&self) -> bool {
        self.ids.len() >= LARGEST_MARK
            || (!self.ids.is_empty() && self.since.elapsed() >= self.timing.mark_delay)
    }

    /// Returns when a mark is due.
    pub(super) async fn due(&self) {
        match self.ids.is_empty() {
            true => pending().await,
            false => tokio::time::sleep_until((self.since + self.timing.mark_delay).into()).await,
        }
    }

    /// Marks them all. Those that could not be marked are forgotten here.
    ///
    /// # Errors
    /// The driver's, or a time-out.
    pub(super) async fn mark(&mut self) -> MongoResult<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let ids = self.ids.drain().collect();
        let marking = mark(self.db.collection(EVENTS), ids);
        let marked = self.db.bounded(self.timing.mark_limit, marking).await;
        self.last_mark_failed = marked.is_err();
        marked
    }
}

/// Says of published events that they are.
pub(super) async fn mark(
    events: Collection<RawDocumentBuf>,
    ids: Vec<ObjectId>,
) -> MongoResult<()> {
    histogram!(MARK_SIZE).record(ids.len() as f64);
    let update = doc! {
        "$set": { "sent": "YES" }, "$currentDate": { "sentAt": true },
        "$unset": { "replay": "", "attempts": "" },
    };
    events
        .update_many(doc! { "_id": { "$in": ids } }, update)
        .await
        .map(drop)
}
