//! What the broker acknowledged and the database does not know of yet.

use bson::oid::ObjectId;
use metrics::histogram;
use tokio::time::Instant;

use crate::pauses::Pauses;
use crate::{Outbox, Timing, metrics::MARK_SIZE, stored::Stored};

/// A mark costs a majority write, however many events it is of.
const LARGEST_MARK: usize = 1_000;
const MOST_IN_FLIGHT: usize = 4;
const LONGER_WHILE_MORE_COMES: u32 = 10;
/// No more is published before some of it is marked.
const MOST_UNMARKED: usize = 10_000;

/// Published events of one key.
pub(super) type Acked = (Stored, Vec<ObjectId>);

/// Events that are published and wait to be marked. When they are lost, the next sweep publishes them again,
/// and the stream takes none of them twice.
pub(super) struct Marks {
    timing: Timing,
    waiting: Vec<Acked>,
    /// How many events these are.
    count: usize,
    /// Halves of batches that the database refused: one of their keys is at fault.
    apart: Vec<Vec<Acked>>,
    /// Whether a batch of `apart` is written next where `waiting` is due too: they take turns.
    apart_is_next: bool,
    /// Since when the first of `waiting` waits; `None` where a sweep waits for a mark, which is then written at once.
    since: Option<Instant>,
    in_flight: usize,
    pauses: Pauses,
    /// When the database may be asked again.
    again: Instant,
}

impl Marks {
    pub(super) fn new(timing: Timing) -> Self {
        let now = Instant::now();
        Self {
            timing,
            waiting: Vec::new(),
            count: 0,
            apart: Vec::new(),
            apart_is_next: false,
            since: None,
            in_flight: 0,
            pauses: Pauses::new(timing.first_retry, timing.longest_retry),
            again: now,
        }
    }

    /// `is_alone`: what the database refused before.
    pub(super) fn add(&mut self, acked: Acked, is_alone: bool, now: Instant) {
        self.count += acked.1.len();
        if is_alone {
            return self.apart.push(vec![acked]);
        }
        if self.waiting.is_empty() {
            self.since = Some(now);
        }
        self.waiting.push(acked);
    }

    /// A sweep waits for one of them.
    pub(super) fn hurry(&mut self) {
        self.since = None;
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.count + self.in_flight * LARGEST_MARK >= MOST_UNMARKED
    }

    pub(super) fn are_none(&self) -> bool {
        self.are_none_waiting() && self.in_flight == 0
    }

    /// When [`Marks::next`] has something to write, unless something else happens first. Where `more_comes`, there will be company.
    pub(super) fn due(&self, more_comes: bool) -> Option<Instant> {
        let due = match (self.apart.is_empty(), self.waiting.is_empty()) {
            (true, true) => return None,
            (true, false) if self.count < LARGEST_MARK => {
                let delay = if more_comes {
                    self.timing.mark_delay * LONGER_WHILE_MORE_COMES
                } else {
                    self.timing.mark_delay
                };
                let due = self.since.map(|since| since + delay);
                due.map_or(self.again, |due| due.max(self.again))
            }
            _ => self.again,
        };
        (self.in_flight < MOST_IN_FLIGHT).then_some(due)
    }

    /// Takes the batch that is to be marked now, if there is one.
    pub(super) fn next(&mut self, now: Instant, more_comes: bool) -> Option<Vec<Acked>> {
        self.due(more_comes).filter(|due| *due <= now)?;
        self.in_flight += 1;
        self.apart_is_next = !self.apart_is_next;
        let batch = match self.apart.pop() {
            Some(batch) if self.apart_is_next || self.waiting.is_empty() => batch,
            not_yet => {
                self.apart.extend(not_yet);
                self.of_waiting()
            }
        };
        self.count -= events(&batch);
        Some(batch)
    }

    fn of_waiting(&mut self) -> Vec<Acked> {
        let mut count = 0;
        let fits = |(_, ids): &&Acked| {
            let is_first = count == 0;
            count += ids.len();
            is_first || count <= LARGEST_MARK
        };
        let keys = self.waiting.iter().take_while(fits).count();
        self.waiting.drain(..keys).collect()
    }

    pub(super) fn succeeded(&mut self) {
        self.in_flight -= 1;
        self.pauses.start_again();
    }

    /// The database could not be reached.
    pub(super) fn failed(&mut self, batch: Vec<Acked>, now: Instant) {
        self.in_flight -= 1;
        self.again = now + self.pauses.next();
        for acked in batch {
            self.add(acked, false, now);
        }
    }

    /// The database refused: one of the batch is at fault, and each half of it is tried. The key of a batch of one.
    pub(super) fn refused(&mut self, mut batch: Vec<Acked>) -> Option<Stored> {
        self.in_flight -= 1;
        if batch.len() == 1 {
            return batch.pop().map(|(key, _)| key);
        }
        self.count += events(&batch);
        let half = batch.split_off(batch.len() / 2);
        self.apart.extend([batch, half]);
        None
    }

    fn are_none_waiting(&self) -> bool {
        self.waiting.is_empty() && self.apart.is_empty()
    }
}

fn events(batch: &[Acked]) -> usize {
    batch.iter().map(|(_, ids)| ids.len()).sum()
}

/// Marks published events as sent; what was noted of those that it `settles` is over.
pub(super) async fn mark(
    outbox: Outbox,
    ids: Vec<ObjectId>,
    settles: Vec<ObjectId>,
) -> mongodb::error::Result<()> {
    histogram!(MARK_SIZE).record(ids.len() as f64);
    outbox.mark(&ids).await?;
    if !settles.is_empty() {
        outbox.settle_parked(settles).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
