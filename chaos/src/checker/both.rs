//! What two services know of each other: each order has its document in time and in its turn, none is refused for nothing, in the end no
//! document has two, and the other service's replica equals the documents.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::{
    Findings, Index, Kind,
    times::{LATE_MS, uncovered, waits},
};
use crate::{
    domain::{
        HOLDER,
        orders::{must_know, of_document},
    },
    history::{Attempt, Event, Known, Observed, Outcome},
};

/// Both histories.
struct Both<'a> {
    observed: &'a Observed,
    index: Index<'a>,
    orders: &'a Observed,
    of_orders: Index<'a>,
    /// When the one or the other could do nothing.
    unhealthy: Vec<(u64, u64)>,
    /// By document.
    held: BTreeMap<&'a str, Vec<Held<'a>>>,
    /// The creations of orders, by document.
    created: HashMap<&'a str, Vec<&'a Event>>,
    /// When the streams of both services told of an event first.
    told: HashMap<&'a str, u64>,
    /// How long its message waits behind others in its stream.
    behind: HashMap<&'a str, u64>,
}

/// An order had a document: from this version to that one, or to the end.
struct Held<'a> {
    order: &'a str,
    from: &'a Event,
    until: Option<&'a Event>,
}

/// An order's event that gave it its document, or took it away.
pub(crate) struct Move<'a> {
    pub(crate) event: &'a Event,
    /// The client's answer, or the message in the stream, whichever came first.
    saved_ms: u64,
    /// The stream tells of it by then; or it was made then, where the stream had other messages to get again.
    pub(crate) moved_ms: u64,
}

pub(super) fn judge(observed: &Observed, orders: &Observed, found: &mut Findings) {
    let both = Both::new(observed, orders);
    both.known(found);
    both.of_one(found);
    both.in_time(found);
    both.in_turn(found);
    for attempt in &orders.attempts {
        let is_placement = attempt.expected == 201;
        match (&attempt.outcome, attempt.status) {
            (Outcome::Refused, 404) if is_placement => both.unknown(attempt, found),
            (Outcome::Refused, 409) if is_placement => both.taken(attempt, found),
            _ => {}
        }
    }
}

/// Every event of an order that moved a document.
pub(crate) fn moves<'a>(observed: &'a Observed, orders: &'a Observed) -> Vec<Move<'a>> {
    Both::new(observed, orders).moves()
}

impl<'a> Both<'a> {
    fn new(observed: &'a Observed, orders: &'a Observed) -> Self {
        let index = Index::new(observed);
        let mut held = BTreeMap::<_, Vec<Held<'_>>>::new();
        for (&(key, _), events) in &index.events {
            let (event, of_key) = (events[0], held.entry(key).or_default());
            let order = event.data[HOLDER].as_str();
            let last = of_key.last_mut().filter(|last| last.until.is_none());
            if last.as_ref().map(|last| last.order) == order {
                continue;
            }
            if let Some(last) = last {
                last.until = Some(event);
            }
            of_key.extend(order.map(|order| Held {
                order,
                from: event,
                until: None,
            }));
        }
        let mut created = HashMap::<_, Vec<_>>::new();
        for event in orders.events.iter().filter(|event| event.version == 0) {
            let document = of_document(&event.data).unwrap_or_default();
            created.entry(document).or_default().push(event);
        }
        let mut told = observed.first_stored();
        told.extend(orders.first_stored());
        let mut behind = waits(observed);
        behind.extend(waits(orders));
        Self {
            told,
            behind,
            created,
            unhealthy: [&observed.unhealthy[..], &orders.unhealthy].concat(),
            of_orders: Index::new(orders),
            observed,
            index,
            orders,
            held,
        }
    }

    /// Whether there was more time than that between them in which both services could work.
    fn is_late(&self, from_ms: u64, until_ms: u64) -> bool {
        uncovered(&self.unhealthy, from_ms, until_ms) > LATE_MS
    }

    /// Where a stream has lost its messages, a consumer gets all of them again.
    fn behind(&self, event: &Event) -> u64 {
        self.behind.get(event.id.as_str()).copied().unwrap_or(0)
    }

    fn moves(&self) -> Vec<Move<'a>> {
        let mut moves = Vec::new();
        let lost = &self.observed.lost;
        for held in self.held.values().flatten() {
            for (version, event) in [(0, Some(held.from)), (1, held.until)] {
                let Some((event, moved)) = self.of_orders.event(held.order, version).zip(event)
                else {
                    continue;
                };
                let told = self.told.get(moved.id.as_str()).copied();
                let told = told.filter(|told| !lost.has(&moved.key, 0, *told));
                let answered_ms = self.of_orders.saved_ms(event);
                let published_ms = self.told.get(event.id.as_str());
                moves.push(Move {
                    event,
                    saved_ms: published_ms.map_or(answered_ms, |at| answered_ms.min(*at)),
                    moved_ms: told.unwrap_or(moved.made_at_ms),
                });
            }
        }
        moves
    }

    /// A document is reserved, and free again, soon.
    fn in_time(&self, found: &mut Findings) {
        for moved in self.moves() {
            let key = &moved.event.key;
            let lost = &self.orders.lost;
            let is_told_again = lost.has(key, moved.saved_ms, moved.moved_ms);
            let since_ms = moved.saved_ms + self.behind(moved.event);
            if !is_told_again && self.is_late(since_ms, moved.moved_ms) {
                let what =
                    "a document that an order has, or gives back, over 20 s after its commit";
                let (saved_ms, moved_ms) = (moved.saved_ms, moved.moved_ms);
                let shown =
                    json!({ "event": moved.event, "saved_ms": saved_ms, "moved": moved_ms });
                found.add(Kind::Late, what, shown);
            }
        }
    }

    /// Whose order is cancelled had the document before, unless it waited for another's.
    fn in_turn(&self, found: &mut Findings) {
        for cancelled in self.orders.events.iter().filter(|it| it.version == 1) {
            let key = of_document(&cancelled.data).unwrap_or_default();
            let of_key = self.held.get(key).map_or(&[][..], Vec::as_slice);
            let Some(created) = self.of_orders.event(&cancelled.key, 0) else {
                continue;
            };
            let saved_ms = self.of_orders.saved_ms(cancelled);
            let lost = &self.orders.lost;
            let explains = |held: &Held<'_>| {
                let until = held
                    .until
                    .and_then(|until| self.told.get(until.id.as_str()));
                let is_meanwhile = until.is_none_or(|until| *until >= created.made_at_ms)
                    && !self.is_late(saved_ms, held.from.made_at_ms);
                held.order == cancelled.key
                    || is_meanwhile
                    || lost.has(&cancelled.key, created.made_at_ms, saved_ms + LATE_MS)
            };
            if !of_key.iter().any(explains) {
                let what =
                    "a cancelled order that never had its document, although no other had it";
                let shown = json!({ "created": created, "cancelled": cancelled });
                found.add(Kind::Reordered, what, shown);
            }
        }
    }

    /// There is one active order of a document at most, at any time, and in the end no other waits for it.
    fn of_one(&self, found: &mut Findings) {
        for created in self.created.values() {
            let mut active: Vec<_> = created.iter().filter_map(|it| self.active(it)).collect();
            active.sort_unstable_by_key(|(from_ms, until_ms, _)| (*from_ms, *until_ms));
            for pair in active.windows(2) {
                let ((_, until_ms, one), (from_ms, _, other)) = (pair[0], pair[1]);
                if from_ms < until_ms {
                    let what = "two orders of a document that were active at once";
                    let shown = json!({ "one": one, "other": other });
                    found.add(Kind::WronglyAccepted, what, shown);
                }
            }
        }
        for document in &self.observed.documents {
            if !document.waiting.is_empty() {
                let what = "an order that waits for a document in the end: two are active at once";
                found.add(Kind::WronglyAccepted, what, json!(document));
            }
        }
    }

    /// From the answer to whoever placed the order until its cancellation was sent, it was active for certain.
    fn active(&self, created: &'a Event) -> Option<(u64, u64, &'a Event)> {
        let placed = self.of_orders.attempt(created);
        let from_ms = placed.filter(|it| it.is_clear())?.ended_ms;
        let until_ms = match self.of_orders.event(&created.key, 1) {
            Some(cancelled) => self.of_orders.attempt(cancelled)?.began_ms,
            None => u64::MAX,
        };
        Some((from_ms, until_ms, created)).filter(|_| from_ms < until_ms)
    }

    /// In the end it knows each document as it is, and no other.
    fn known(&self, found: &mut Findings) {
        let known = self.observed.known.iter();
        let mut known: HashMap<&str, &Known> = known.map(|it| (it.key.as_str(), it)).collect();
        for document in &self.observed.documents {
            let is = known.remove(document.key.as_str());
            let must_be = Known {
                key: document.key.clone(),
                version: document.version,
                says: must_know(&document.says),
            };
            if is != Some(&must_be) {
                let what = "a document that the other service knows as another";
                let shown = json!({ "document": document, "known": is });
                found.add(Kind::Diverged, what, shown);
            }
        }
        for known in known.values() {
            let what = "a document that there is not, and that the other service knows";
            found.add(Kind::Diverged, what, json!(known));
        }
    }

    /// No such document is known: that is so for a while.
    fn unknown(&self, attempt: &Attempt, found: &mut Findings) {
        let Some(created) = document_of(attempt).and_then(|key| self.index.event(key, 0)) else {
            return;
        };
        let since_ms = self.index.saved_ms(created);
        let lost = &self.observed.lost;
        let is_told_again = lost.has(&created.key, since_ms, attempt.began_ms);
        let is_late = self.is_late(since_ms + self.behind(created), attempt.began_ms);
        if is_late && !is_told_again {
            let what = "a document that the other service did not know 20 s after its commit";
            let shown = json!({ "attempt": attempt, "event": created });
            found.add(Kind::Late, what, shown);
        }
    }

    /// Another order has the document: there must be one.
    fn taken(&self, attempt: &Attempt, found: &mut Findings) {
        let of_document = document_of(attempt).and_then(|key| self.created.get(key));
        let may_be_active = |created: &&Event| {
            let cancelled = self.of_orders.event(&created.key, 1);
            let is_over = cancelled.is_some_and(|cancelled| {
                let by = self.of_orders.attempt(cancelled).filter(|it| it.is_clear());
                let told = self.told.get(cancelled.id.as_str());
                let over = by.map(|by| by.ended_ms).into_iter().chain(told.copied());
                over.min().is_some_and(|over| over < attempt.began_ms)
            });
            created.made_at_ms <= attempt.ended_ms && !is_over
        };
        if !of_document.into_iter().flatten().any(may_be_active) {
            let what = "a refusal for another order, and there was none";
            found.add(Kind::WronglyRefused, what, json!(attempt));
        }
    }
}

fn document_of(attempt: &Attempt) -> Option<&str> {
    attempt.says["/ticket/id"].as_str()
}
