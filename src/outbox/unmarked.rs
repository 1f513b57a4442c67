//! What the broker acknowledged and the database does not know of yet.

use std::{
    collections::HashSet,
    future::pending,
    time::{Duration, Instant},
};

use bson::oid::ObjectId;
use mongodb::error::Result as MongoResult;

use super::{
    event::EVENTS,
    sweep::{LARGEST_MARK, mark},
};
use crate::db::Db;

/// A mark waits so long for company: it is a majority write, and the commits beside it wait for its journal.
const DELAY: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(15);

/// Events that are published and wait to be marked. When they are lost, the next sweep publishes them again,
/// and the stream takes none of them twice.
pub(super) struct Unmarked {
    db: Db,
    ids: HashSet<ObjectId>,
    /// When the first of them came.
    since: Instant,
}

impl Unmarked {
    pub(super) fn new(db: &Db) -> Self {
        Self {
            db: db.clone(),
            ids: HashSet::new(),
            since: Instant::now(),
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

    pub(super) fn is_due(&self) -> bool {
        self.ids.len() >= LARGEST_MARK || (!self.ids.is_empty() && self.since.elapsed() >= DELAY)
    }

    /// Returns when a mark is due.
    pub(super) async fn due(&self) {
        match self.ids.is_empty() {
            true => pending().await,
            false => tokio::time::sleep_until((self.since + DELAY).into()).await,
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
        self.db.bounded(LIMIT, marking).await
    }
}
