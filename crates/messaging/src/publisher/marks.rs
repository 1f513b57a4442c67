//! What the broker acknowledged and the database does not know of yet.

use std::{collections::HashSet, future::pending, time::Instant};

use bson::oid::ObjectId;
use metrics::histogram;

use crate::{Outbox, Timing, metrics::MARK_SIZE};

/// A mark costs a majority write, however many events it is of.
pub(super) const LARGEST_MARK: usize = 1_000;

/// Events that are published and wait to be marked. When they are lost, the next sweep publishes them again,
/// and the stream takes none of them twice.
pub(super) struct Unmarked {
    outbox: Outbox,
    timing: Timing,
    ids: HashSet<ObjectId>,
    /// When the first of them came.
    since: Instant,
    last_mark_failed: bool,
    /// Whether some of them may have been parked before.
    pub(super) some_were_parked: bool,
}

impl Unmarked {
    pub(super) fn new(outbox: &Outbox, timing: Timing) -> Self {
        Self {
            outbox: outbox.clone(),
            timing,
            ids: HashSet::new(),
            since: Instant::now(),
            last_mark_failed: false,
            some_were_parked: false,
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

    /// Returns when a mark is due.
    pub(super) async fn due(&self) {
        if self.ids.is_empty() {
            pending::<()>().await;
        }
        tokio::time::sleep_until((self.since + self.timing.mark_delay).into()).await;
    }

    /// Marks them all. Those that could not be marked are forgotten here.
    ///
    /// # Errors
    /// The driver's, or a time-out.
    pub(super) async fn mark(&mut self) -> mongodb::error::Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let ids = self.ids.drain().collect();
        let marking = mark(self.outbox.clone(), ids, self.some_were_parked);
        let marked = self
            .outbox
            .db
            .bounded(self.timing.mark_limit, marking)
            .await;
        self.last_mark_failed = marked.is_err();
        marked
    }
}

/// Marks published events as sent, and forgets that some of them were parked.
pub(super) async fn mark(
    outbox: Outbox,
    ids: Vec<ObjectId>,
    some_were_parked: bool,
) -> mongodb::error::Result<()> {
    histogram!(MARK_SIZE).record(ids.len() as f64);
    outbox.mark(&ids).await?;
    if some_were_parked {
        let ids = ids.into_iter().map(Into::into).collect();
        outbox.forget_parked(ids).await?;
    }
    Ok(())
}
