//! What the broker acknowledged and the database does not know of yet.

use bson::oid::ObjectId;
use metrics::histogram;
use tokio::time::Instant;

use super::pauses::Pauses;
use crate::{Outbox, Timing, metrics::MARK_SIZE, stored::Stored};

/// A mark costs a majority write, however many events it is of.
const LARGEST_MARK: usize = 1_000;
const MOST_IN_FLIGHT: usize = 4;
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
    /// Each of these is marked by itself.
    alone: Vec<Acked>,
    /// When what waits is to be marked.
    due: Instant,
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
            alone: Vec::new(),
            due: now,
            in_flight: 0,
            pauses: Pauses::new(timing.first_retry, timing.longest_retry),
            again: now,
        }
    }

    /// `is_alone`: what the database refused before.
    pub(super) fn add(&mut self, acked: Acked, is_alone: bool, now: Instant) {
        if is_alone {
            return self.alone.push(acked);
        }
        if self.waiting.is_empty() {
            self.due = now + self.timing.mark_delay;
        }
        self.count += acked.1.len();
        self.waiting.push(acked);
    }

    /// A sweep waits for one of them.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.min(now);
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.count + self.in_flight * LARGEST_MARK >= MOST_UNMARKED
    }

    pub(super) fn are_none(&self) -> bool {
        self.are_none_waiting() && self.in_flight == 0
    }

    /// When [`Marks::next`] has something to write, unless something else happens first.
    pub(super) fn due(&self) -> Option<Instant> {
        let has_some = !self.are_none_waiting() && self.in_flight < MOST_IN_FLIGHT;
        let is_large = self.count >= LARGEST_MARK || !self.alone.is_empty();
        has_some.then(|| {
            if is_large {
                self.again
            } else {
                self.due.max(self.again)
            }
        })
    }

    /// What is to be marked now, if anything.
    pub(super) fn next(&mut self, now: Instant) -> Option<Vec<Acked>> {
        self.due().filter(|due| *due <= now)?;
        self.in_flight += 1;
        if let Some(alone) = self.alone.pop() {
            return Some(vec![alone]);
        }
        let mut count = 0;
        let fits = |(_, ids): &&Acked| {
            let is_first = count == 0;
            count += ids.len();
            is_first || count <= LARGEST_MARK
        };
        let keys = self.waiting.iter().take_while(fits).count();
        let batch: Vec<Acked> = self.waiting.drain(..keys).collect();
        self.count -= events(&batch);
        Some(batch)
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

    /// The database refused: one of the batch is at fault, and each is tried by itself. The key of one that was by itself.
    pub(super) fn refused(&mut self, mut batch: Vec<Acked>) -> Option<Stored> {
        self.in_flight -= 1;
        if batch.len() == 1 {
            return batch.pop().map(|(key, _)| key);
        }
        self.alone.extend(batch);
        None
    }

    fn are_none_waiting(&self) -> bool {
        self.waiting.is_empty() && self.alone.is_empty()
    }
}

fn events(batch: &[Acked]) -> usize {
    batch.iter().map(|(_, ids)| ids.len()).sum()
}

/// Marks published events as sent; what was noted of those that were parked is over, perhaps.
///
/// # Errors
/// The driver's.
pub(super) async fn mark(
    outbox: Outbox,
    ids: Vec<ObjectId>,
    some_were_parked: bool,
) -> mongodb::error::Result<()> {
    histogram!(MARK_SIZE).record(ids.len() as f64);
    outbox.mark(&ids).await?;
    if some_were_parked {
        outbox.settle_parked(ids).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn acked(key: &str, events: usize) -> Acked {
        let ids = (0..events).map(|_| ObjectId::new()).collect();
        (Stored::from(key), ids)
    }

    fn marks() -> (Marks, Instant) {
        (Marks::new(Timing::default()), Instant::now())
    }

    #[test]
    fn events_wait_for_company_unless_there_are_a_thousand_or_a_sweep_waits() {
        let (mut marks, now) = marks();
        marks.add(acked("a", 3), false, now);
        let delay = Timing::default().mark_delay;
        assert_eq!(marks.next(now), None);
        assert_eq!(marks.due(), Some(now + delay));
        assert_eq!(marks.next(now + delay).unwrap().len(), 1);
        marks.add(acked("a", 1), false, now);
        marks.hurry(now);
        assert_eq!(marks.next(now).unwrap().len(), 1);
        marks.add(acked("a", 999), false, now);
        assert_eq!(marks.next(now), None);
        marks.add(acked("b", 1), false, now);
        assert_eq!(marks.next(now).unwrap().len(), 2);
        assert_eq!(marks.next(now + delay), None);
    }

    #[test]
    fn a_mark_is_of_a_thousand_events_at_most_and_of_a_whole_key_at_least() {
        let (mut marks, now) = marks();
        for key in ["a", "b", "c"] {
            marks.add(acked(key, 600), false, now);
        }
        assert_eq!(events(&marks.next(now).unwrap()), 600);
        assert_eq!(events(&marks.next(now).unwrap()), 600);
        assert_eq!(marks.next(now), None);
        marks.add(acked("d", 2_000), false, now);
        assert_eq!(marks.next(now).unwrap()[0].0, Stored::from("c"));
        assert_eq!(events(&marks.next(now).unwrap()), 2_000);
        assert!(!marks.are_none(), "they are being written");
    }

    #[test]
    fn four_marks_are_written_at_once_and_ten_thousand_events_stop_the_publisher() {
        let (mut marks, now) = marks();
        for _ in 0..5 {
            marks.add(acked("a", 1_000), false, now);
        }
        for _ in 0..4 {
            assert!(marks.next(now).is_some());
        }
        assert_eq!((marks.next(now), marks.due()), (None, None));
        assert!(!marks.are_too_many());
        for _ in 0..5 {
            marks.add(acked("a", 1_000), false, now);
        }
        assert!(marks.are_too_many());
        marks.succeeded();
        assert!(marks.next(now).is_some());
    }

    #[test]
    fn what_could_not_be_marked_waits_and_is_marked_with_growing_pauses() {
        let (mut marks, mut now) = marks();
        marks.add(acked("a", 1_000), false, now);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            let batch = marks.next(now).unwrap();
            marks.failed(batch, now);
            let again = marks.due().unwrap();
            pauses.push(again - now);
            now = again;
        }
        assert!(pauses[0] >= Duration::from_millis(50));
        assert!(pauses[1] > pauses[0] && pauses[2] > pauses[1], "{pauses:?}");
        assert!(marks.next(now).is_some());
        marks.succeeded();
        assert!(marks.are_none());
        marks.add(acked("a", 1_000), false, now);
        let batch = marks.next(now).unwrap();
        marks.failed(batch, now);
        assert!(marks.due().unwrap() - now <= Duration::from_millis(100));
    }

    #[test]
    fn of_a_batch_that_is_refused_each_key_is_marked_by_itself() {
        let (mut marks, now) = marks();
        marks.add(acked("a", 700), false, now);
        marks.add(acked("b", 300), false, now);
        let batch = marks.next(now).unwrap();
        assert_eq!(marks.refused(batch), None);
        let first = marks.next(now).unwrap();
        assert_eq!(first.len(), 1);
        let second = marks.next(now).unwrap();
        let key = second[0].0.clone();
        assert_eq!(marks.refused(second), Some(key));
        marks.succeeded();
        assert!(marks.are_none());
    }
}
