//! What comes of publications and writes, and what follows from it for their keys.

use db::cause;
use futures_util::FutureExt;
use metrics::counter;
use tokio::time::Instant;

use super::{Holder, Written};
use crate::{
    jetstream::{StreamState, Whose},
    metrics::PUBLISH_FAILURES,
    outbox::Unpublishable,
    publisher::{
        marks::{Acked, mark},
        turn::{Ended, Then},
    },
    stored::Stored,
};

const NOT_PUBLISHED: &str = "an event could not be published; its key waits";
const NOT_MARKED: &str = "cannot mark the events";
const NOT_PARKED: &str = "cannot park an event";

impl Holder<'_> {
    pub(super) fn turn_ended(&mut self, ended: Ended) {
        let now = Instant::now();
        self.in_flight -= 1;
        let Ended { key, acked, then } = ended;
        if !acked.is_empty() {
            self.told_of_keys.is_over(NOT_PUBLISHED, &key);
            self.is_wanted |= self.keys.succeeded(&key, now);
            let is_waited_for = self.keys.begin_mark(&key);
            let is_alone = self.keys.is_refused(&key);
            self.marks.add((key.clone(), acked), is_alone, now);
            if is_waited_for {
                self.marks.hurry();
            }
        }
        match then {
            Then::Nothing | Then::LeaseEnded => self.finish(&key),
            Then::ConnectionLost => self.broker_failed(&key),
            Then::Failed(Whose::Unclear, error, began) => {
                self.broker.failed(began);
                if self.broker.is_away() {
                    self.broker_failed(&key);
                } else {
                    self.undecided.push((key, error, began));
                }
            }
            Then::Failed(Whose::Streams, error, began) => {
                self.keys.stream_says_so();
                self.key_failed(key, &error, began);
            }
            Then::Failed(Whose::Keys, error, began) => self.key_failed(key, &error, began),
            Then::Failed(Whose::OnItsWay, error, _) => {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "a message of the key is being stored"
                );
                self.finish(&key);
                self.keys.on_its_way(key, now);
            }
            Then::Parks(unpublishable) => self.park(key, unpublishable),
        }
    }

    fn finish(&mut self, key: &Stored) {
        self.is_wanted |= self.keys.finish(key);
    }

    fn broker_failed(&mut self, key: &Stored) {
        counter!(PUBLISH_FAILURES, "reason" => "broker").increment(1);
        self.is_wanted = true;
        self.finish(key);
    }

    fn key_failed(&mut self, key: Stored, error: &anyhow::Error, began: Instant) {
        let now = Instant::now();
        counter!(PUBLISH_FAILURES, "reason" => "key").increment(1);
        let error = format!("{error:#}");
        self.told_of_keys.tell(NOT_PUBLISHED, &key, error, now);
        self.finish(&key);
        self.is_wanted |= self.keys.failed(key, began, now);
    }

    fn park(&mut self, key: Stored, it: Unpublishable) {
        counter!(PUBLISH_FAILURES, "reason" => "parked").increment(1);
        let outbox = self.publisher.outbox.clone();
        let limit = self.publisher.timing.mark_limit;
        let parking = async move {
            let one = (key, it.id.clone());
            let parked = outbox.bounded(limit, |outbox| outbox.park(it)).await;
            Written::Parked(one, parked)
        };
        self.writes.push(parking.boxed());
    }

    pub(super) fn write_marks(&mut self, batch: Vec<Acked>) {
        let outbox = self.publisher.outbox.clone();
        let limit = self.publisher.timing.mark_limit;
        let ids: Vec<_> = batch.iter().flat_map(|(_, ids)| ids).copied().collect();
        let settles = self.parked.decided(&ids);
        let marking = async move {
            let marked = outbox.bounded(limit, |outbox| mark(outbox, ids, settles));
            Written::Marks(batch, marked.await)
        };
        self.writes.push(marking.boxed());
    }

    pub(super) fn written(&mut self, written: Written) {
        let now = Instant::now();
        match written {
            Written::Marks(batch, Ok(())) => {
                self.marks.succeeded();
                self.told_of_marks.is_over();
                let marked: Vec<_> = batch.iter().flat_map(|(_, ids)| ids).copied().collect();
                self.publisher.recent.marked(&marked);
                for (key, ids) in batch {
                    self.told_of_keys.is_over(NOT_MARKED, &key);
                    self.is_wanted |= self.keys.finish_mark(&key, &ids);
                }
            }
            Written::Marks(batch, Err(error)) => {
                let why = cause(&error);
                if let db::Error::Unavailable(_) = error.into() {
                    self.told_of_marks.tell(NOT_MARKED, why);
                    self.marks.failed(batch, now);
                } else if let Some(key) = self.marks.refused(batch) {
                    self.told_of_keys.tell(NOT_MARKED, &key, why, now);
                    self.finish(&key);
                    self.keys.refused(key, now);
                }
            }
            Written::Parked((key, id), Ok(())) => {
                self.told_of_keys.forget(&key);
                self.keys.forget(&key);
                self.finish(&key);
                if let Some(id) = id.object_id() {
                    self.publisher.recent.parked(id);
                }
                self.parked_meanwhile.push((key.clone(), id.clone()));
                self.parked.add(key, id);
            }
            Written::Parked((key, _), Err(error)) => {
                self.told_of_keys.tell(NOT_PARKED, &key, cause(&error), now);
                self.finish(&key);
                self.keys.refused(key, now);
            }
        }
    }

    /// What the stream answered tells whose the failures before were.
    pub(super) fn answered(&mut self, answer: anyhow::Result<StreamState>) {
        let (was_away, now) = (self.broker.is_away(), Instant::now());
        let answers = self.broker.heed(&answer, now);
        let is_new = matches!(answer, Ok(StreamState::Made));
        for (key, error, began) in std::mem::take(&mut self.undecided) {
            if answers && !was_away && !is_new {
                self.key_failed(key, &error, began);
            } else {
                self.broker_failed(&key);
            }
        }
        if !answers {
            self.drop_sweep();
        } else if was_away || is_new {
            self.keys.end_delays(now);
            self.is_wanted = true;
        }
    }

    pub(super) fn connection_changed(&mut self, is_connected: bool) {
        if !is_connected {
            self.broker.is_cut_off(Instant::now());
            self.drop_sweep();
            // Nobody acknowledges any more what was sent over it.
            std::mem::take(&mut self.cut).cancel();
        }
    }
}

#[cfg(test)]
mod tests;
