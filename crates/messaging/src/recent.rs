//! What this process has published and applied last, for people to look at. It is bounded, however much goes on: of a busy moment it keeps a
//! sample, and counts the rest.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bson::{DateTime, RawDocument, oid::ObjectId};
use serde::{Serialize, Serializer};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Event, Sent,
    stored::{shortened, whole_number},
};

/// Of events, of messages, and of events that are not published yet.
pub const MOST_RECENT: usize = 50;
/// So many events that have begun within [`FRESH`] are followed; others that begin meanwhile are counted only.
const MOST_FRESH: usize = 16;
const FRESH: Duration = Duration::from_secs(1);

/// What was published and applied last. Clones are of the same.
#[derive(Debug, Clone, Default)]
pub struct Recent(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    /// Those that are not published yet, and those that are; each with the latest at the end.
    unsent: VecDeque<(RecentEvent, Instant)>,
    sent: VecDeque<RecentEvent>,
    messages: VecDeque<AppliedMessage>,
    lags: BTreeMap<&'static str, ConsumerLag>,
    number: u64,
}

/// An event that this process has seen.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentEvent {
    /// Grows from one to the next that is seen.
    number: u64,
    #[serde(serialize_with = "as_hex")]
    pub id: ObjectId,
    pub r#type: String,
    pub key: String,
    pub version: i64,
    pub sent: Sent,
    pub is_parked: bool,
    /// In milliseconds since 1970.
    pub created_ms: i64,
    /// From its making until it was marked as sent.
    pub took_ms: Option<i64>,
}

/// A message that a handler of this process applied.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedMessage {
    number: u64,
    pub consumer: &'static str,
    pub r#type: String,
    pub key: String,
    pub version: i64,
    /// In milliseconds since 1970.
    pub applied_ms: i64,
    /// From its delivery to the commit; `None` where it had been put aside.
    pub took_ms: Option<i64>,
}

/// How far a consumer is behind its stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConsumerLag {
    pub messages: u64,
    pub seconds: f64,
}

/// What was done since this process began, and how slow it was since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    pub published: u64,
    pub applied: u64,
    /// The longest time in seconds from the making of an event to its acknowledgement, of those that were acknowledged since the last look.
    pub slowest: Option<f64>,
}

impl Recent {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is half done where somebody panicked.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_one();
    }

    /// Another may publish now what this instance took for unsent.
    pub(crate) fn stands_by(&self) {
        self.change(|state| state.unsent.clear());
    }

    /// An event is published now, or tried again.
    pub(crate) fn begins(&self, event: &Event) {
        self.change(|state| {
            state.see(event.id, || RecentEvent {
                number: 0,
                id: event.id,
                r#type: shortened(&event.r#type),
                key: shortened(&event.key),
                version: event.version,
                sent: Sent::No,
                is_parked: false,
                created_ms: event.created_at.timestamp_millis(),
                took_ms: None,
            });
        });
    }

    /// A change stream tells of an event that can't be published now.
    pub(crate) fn waits(&self, event: &RawDocument) {
        let Ok(id) = event.get_object_id("_id") else {
            return;
        };
        let text = |name| shortened(event.get_str(name).unwrap_or("?"));
        let created = event.get_datetime("createdAt");
        self.change(|state| {
            state.see(id, || RecentEvent {
                number: 0,
                id,
                r#type: text("type"),
                key: text("key"),
                version: whole_number(event, "version").unwrap_or_default(),
                sent: Sent::No,
                is_parked: false,
                created_ms: created.map_or(0, |it| it.timestamp_millis()),
                took_ms: None,
            });
        });
    }

    /// The stream has acknowledged an event of this age in seconds; `None` where that says nothing.
    pub(crate) fn acknowledged(&self, age: Option<f64>) {
        let mut state = self.state();
        state.tally.published += 1;
        let slowest = [state.tally.slowest, age].into_iter().flatten();
        state.tally.slowest = slowest.reduce(f64::max);
    }

    /// These events are marked as sent.
    pub(crate) fn marked(&self, ids: &[ObjectId]) {
        let ids: HashSet<_> = ids.iter().collect();
        let now = DateTime::now().timestamp_millis();
        self.change(|state| {
            let is_marked = |(event, _): &(RecentEvent, Instant)| ids.contains(&event.id);
            let (marked, unsent) = std::mem::take(&mut state.unsent)
                .into_iter()
                .partition(is_marked);
            state.unsent = unsent;
            for (event, _) in marked {
                let took_ms = Some(now.saturating_sub(event.created_ms).max(0));
                push(
                    &mut state.sent,
                    RecentEvent {
                        sent: Sent::Yes,
                        is_parked: false,
                        took_ms,
                        ..event
                    },
                );
            }
        });
    }

    pub(crate) fn parked(&self, id: ObjectId) {
        self.change(|state| {
            let found = state.unsent.iter_mut().find(|(event, _)| event.id == id);
            if let Some((event, _)) = found {
                event.is_parked = true;
            }
        });
    }

    pub(crate) fn applied(
        &self,
        consumer: &'static str,
        (r#type, key, version): (&str, &str, i64),
        took: Option<Duration>,
    ) {
        self.change(|state| {
            state.tally.applied += 1;
            state.number += 1;
            let message = AppliedMessage {
                number: state.number,
                consumer,
                r#type: shortened(r#type),
                key: shortened(key),
                version,
                applied_ms: DateTime::now().timestamp_millis(),
                took_ms: took.and_then(|took| i64::try_from(took.as_millis()).ok()),
            };
            push(&mut state.messages, message);
        });
    }

    /// How far a consumer is behind; `None` where it can't be told.
    pub(crate) fn lags(&self, consumer: &'static str, lag: Option<ConsumerLag>) {
        let mut state = self.state();
        match lag {
            Some(lag) => state.lags.insert(consumer, lag),
            None => state.lags.remove(consumer),
        };
    }

    /// Returns when something was published, parked or applied since it last did. For one caller.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The last events, and the last messages; the latest first.
    pub fn look(&self) -> (Vec<RecentEvent>, Vec<AppliedMessage>) {
        let state = self.state();
        let unsent = state.unsent.iter().map(|(event, _)| event);
        let mut events: Vec<_> = unsent.chain(&state.sent).cloned().collect();
        events.sort_unstable_by_key(|event| std::cmp::Reverse(event.number));
        events.truncate(MOST_RECENT);
        (events, state.messages.iter().rev().cloned().collect())
    }

    /// When the oldest was made of those that wait, in milliseconds since 1970, and not before `from_ms`: older ones that this process takes
    /// for unsent may have been published by another.
    pub fn oldest_unsent_ms(&self, from_ms: i64) -> Option<i64> {
        let state = self.state();
        let waits = state.unsent.iter().filter(|(event, _)| !event.is_parked);
        let made = waits.map(|(event, _)| event.created_ms);
        made.filter(|made_ms| *made_ms >= from_ms).min()
    }

    pub fn tally(&self) -> Tally {
        let mut state = self.state();
        let tally = state.tally;
        state.tally.slowest = None;
        tally
    }

    pub fn consumer_lags(&self) -> BTreeMap<&'static str, ConsumerLag> {
        self.state().lags.clone()
    }
}

impl State {
    fn see(&mut self, id: ObjectId, event: impl FnOnce() -> RecentEvent) {
        let (fresh, now) = (self.unsent.iter().rev(), Instant::now());
        let is_fresh = |(_, seen): &&(RecentEvent, Instant)| now.duration_since(*seen) < FRESH;
        let fresh = fresh.take_while(is_fresh).count();
        let is_known = |(event, _): &(RecentEvent, Instant)| event.id == id;
        if fresh >= MOST_FRESH || self.unsent.iter().any(is_known) {
            return;
        }
        self.number += 1;
        let number = self.number;
        push(&mut self.unsent, (RecentEvent { number, ..event() }, now));
    }
}

fn push<T>(ring: &mut VecDeque<T>, one: T) {
    if ring.len() == MOST_RECENT {
        ring.pop_front();
    }
    ring.push_back(one);
}

fn as_hex<S: Serializer>(id: &ObjectId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&id.to_hex())
}

#[cfg(test)]
mod tests;
