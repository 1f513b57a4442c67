//! Orders that hold documents: each of their events is applied once, and at the end each document has the orders that want it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::{Findings, Index, Kind, times::Known};
use crate::{
    domain::HOLDER,
    history::{Document, Event, Observed, OrderEvent},
};

/// Each version is one that its order's event explains, or a client's write of a document that no order holds.
pub(super) fn versions(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let orders = observed.orders.events.iter();
    let by_trace: HashMap<&str, &OrderEvent> =
        orders.map(|order| (order.trace.as_str(), order)).collect();
    let mut applied = HashSet::new();
    for (&(key, version), events) in &index.events {
        let event = events[0];
        let before = index.event(key, version - 1);
        let order = event.trace().and_then(|trace| by_trace.get(trace));
        let shown = || json!({ "before": before, "event": event, "order": order });
        let Some(order) = order else {
            let is_held = before.is_some_and(|before| !before.data[HOLDER].is_null());
            if is_held && !observed.planted.contains(&event.id) {
                let what = "a change of a document that an order holds";
                found.add(Kind::WronglyAccepted, what, shown());
            }
            continue;
        };
        if !applied.insert(&order.trace) {
            let what = "an order's event that was applied twice";
            found.add(Kind::Repeated, what, shown());
        }
        if before.is_none_or(|before| !explains(order, before, event)) {
            let what = "a version that its order's event does not explain";
            found.add(Kind::Altered, what, shown());
        }
    }
}

/// A creation takes a free document; a cancellation gives away what its order held. Nothing else changes.
fn explains(order: &OrderEvent, before: &Event, after: &Event) -> bool {
    let holder = |event: &Event| event.data[HOLDER].clone();
    let rest = |event: &Event| {
        let mut data = event.data.clone();
        data[HOLDER] = Value::Null;
        data["version"] = Value::Null;
        data
    };
    let is_moved = if order.version == 0 {
        holder(before).is_null() && holder(after) == order.order
    } else {
        holder(before) == order.order && holder(after) != order.order
    };
    is_moved && order.document == after.key && rest(before) == rest(after)
}

/// Whether an order holds it, or waits for it.
fn is_wanted(document: &Document) -> bool {
    document.says[HOLDER].is_string() || !document.waiting.is_empty()
}

/// Who holds a document and who waits for it are those that want it; each event has moved its order's mark, and none is put aside.
pub(super) fn at_the_end(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut wanted = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut last = BTreeMap::<&str, i64>::new();
    let mut unknown = HashSet::new();
    for event in &observed.orders.events {
        if !event.is_acked {
            unknown.insert(event.document.as_str());
            unknown.insert(event.order.as_str());
        }
        let last = last.entry(&event.order).or_insert(event.version);
        *last = event.version.max(*last);
        wanted.entry(&event.document).or_default();
    }
    for document in observed.documents.iter().filter(|it| is_wanted(it)) {
        wanted.entry(&document.key).or_default();
    }
    for event in &observed.orders.events {
        if last[event.order.as_str()] == 0 {
            wanted
                .entry(&event.document)
                .or_default()
                .insert(&event.order);
        }
    }
    for (key, wants) in wanted.iter().filter(|(key, _)| !unknown.contains(*key)) {
        let document = index.documents.get(key);
        let has = document.map(|document| {
            let holder = document.says[HOLDER].as_str();
            let waiting = document.waiting.iter().map(String::as_str);
            waiting.chain(holder).collect::<BTreeSet<&str>>()
        });
        let is_free =
            document.is_some_and(|it| it.says[HOLDER].is_null() && !it.waiting.is_empty());
        if is_free {
            let what = "a document that nobody has, although an order waits for it";
            found.add(Kind::Stuck, what, json!(document));
        }
        if has.as_ref() != Some(wants) {
            let what = "a document without the orders that want it, or with others";
            found.add(
                Kind::Lost,
                what,
                json!({ "document": document, "wanted_by": wants }),
            );
        }
    }
    for put_aside in &observed.orders.put_aside {
        if !observed.planted.contains(&put_aside.message_id) {
            let what = "a message that is put aside, although nothing is wrong with it";
            found.add(Kind::Stuck, what, json!(put_aside));
        }
    }
    let known = last
        .into_iter()
        .filter(|(order, _)| !unknown.contains(order));
    marks(observed, known, found);
}

/// The mark of each order stands at its last version.
fn marks<'a>(
    observed: &Observed,
    last: impl Iterator<Item = (&'a str, i64)>,
    found: &mut Findings,
) {
    let marks = observed.orders.marks.iter();
    let marks: HashMap<&str, Option<i64>> = marks
        .map(|mark| (mark.order.as_str(), mark.version))
        .collect();
    for (order, version) in last {
        let mark = marks.get(order).copied().flatten();
        if mark != Some(version) {
            let shown = json!({ "order": order, "version": version, "mark": mark });
            found.add(Kind::Lost, "an order's event without its mark", shown);
        }
    }
}

/// A write is refused for an order only where one may have held the document.
pub(super) fn refusals(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let known = Known::new(observed);
    for attempt in observed.attempts.iter().filter(|it| it.met_an_order()) {
        let key = attempt.path.rsplit('/').next().unwrap_or_default();
        let least = known.before(key, attempt.began_ms).unwrap_or_default();
        let mut later = index.events.range((key, least)..=(key, i64::MAX));
        let may_be_held = later.any(|(_, events)| !events[0].data[HOLDER].is_null());
        if !may_be_held {
            let what = "a refusal for an order that did not hold the document any more";
            found.add(Kind::WronglyRefused, what, json!(attempt));
        }
    }
}
