//! Orders at a real service: what they do to documents, and what it knows of these.

use super::{
    orders::{mark, ordered},
    *,
};
use crate::{
    domain::{HOLDER, orders::must_know},
    history::{Known, Lost},
};

/// An event of an order of the only document.
pub(super) fn order(order: &str, version: i64) -> Event {
    let trace = format!("{order}{version}");
    let status = if version == 0 { "created" } else { "cancelled" };
    Event {
        id: format!("e{trace}"),
        key: order.to_owned(),
        subject: format!("order.{status}.{order}"),
        r#type: format!("order.{status}"),
        data: json!({ "version": version, "status": status, "ticket": { "id": "k" } }),
        ..event(version, &trace)
    }
}

/// The write that this event is of.
fn write(event: &Event) -> Attempt {
    let outcome = Outcome::Accepted {
        key: event.key.clone(),
        version: event.version,
    };
    let mut write = attempt(event.trace().unwrap(), outcome);
    write.intent = Intent::Keyless;
    write.path = "/orders".to_owned();
    write.says = json!({ "/ticket/id": "k" });
    write.answers = vec![Answer {
        location: (event.version == 0).then(|| format!("/orders/{}", event.key)),
        body: event.data.clone(),
        ..answer(event.version, "")
    }];
    write
}

/// What the service has saved that takes orders: these events.
pub(super) fn of_orders(events: Vec<Event>) -> Observed {
    let document = |event: &Event| Document {
        key: event.key.clone(),
        version: event.version,
        says: event.data.clone(),
        made_ms: 1_000,
        changed_ms: event.made_ms,
        waiting: Vec::new(),
        strange: Vec::new(),
    };
    let is_last = |event: &&Event| {
        let mut others = events.iter();
        !others.any(|it| it.key == event.key && it.version > event.version)
    };
    Observed {
        attempts: events.iter().map(write).collect(),
        documents: events.iter().filter(is_last).map(document).collect(),
        messages: (1..)
            .zip(&events)
            .map(|(at, event)| message(at, event))
            .collect(),
        events,
        ..Observed::default()
    }
}

/// As `ordered`, and its orders are real ones: A takes the document, B waits for it, A gives it back, and B has it.
fn both() -> Observed {
    let mut both = ordered();
    let events = vec![order("A", 0), order("A", 1), order("B", 0)];
    both.sibling = Some(Box::new(of_orders(events)));
    both.known = vec![Known {
        key: "k".to_owned(),
        version: 2,
        says: must_know(&both.documents[0].says),
    }];
    both
}

fn sibling(both: &mut Observed) -> &mut Observed {
    both.sibling.as_mut().unwrap()
}

#[test]
fn what_each_service_promised_is_judged() {
    assert_eq!(kinds(&both()), []);

    let mut lost = both();
    sibling(&mut lost).messages.pop();
    assert_eq!(kinds(&lost), [Kind::Lost, Kind::Premature]);

    let mut of_another = both();
    sibling(&mut of_another).attempts[0].says = json!({ "/ticket/id": "l" });
    assert_eq!(kinds(&of_another), [Kind::Altered]);
}

#[test]
fn a_document_that_the_other_service_knows_as_another_is_diverged() {
    let differing: [fn(&mut Vec<Known>); 5] = [
        Vec::clear,
        |known| known[0].version = 1,
        |known| known[0].says["orderId"] = Value::Null,
        |known| known[0].says["price"] = json!(3),
        |known| {
            let of_none = Known {
                key: "l".to_owned(),
                ..known[0].clone()
            };
            known.push(of_none);
        },
    ];
    for differs in differing {
        let mut both = both();
        differs(&mut both.known);
        assert_eq!(kinds(&both), [Kind::Diverged]);
    }
}

#[test]
fn two_active_orders_of_a_document_are_one_too_many() {
    let mut two = both();
    let event = order("C", 0);
    let orders = of_orders([sibling(&mut two).events.clone(), vec![event]].concat());
    two.orders.events = crate::orders::recorded(&orders.events);
    two.orders.marks.push(mark("C", 0));
    two.documents[0].waiting = vec!["C".to_owned()];
    two.sibling = Some(Box::new(orders));
    assert_eq!(kinds(&two), [Kind::WronglyAccepted]);
}

#[test]
fn an_order_that_is_placed_while_another_is_active_for_certain_is_one_too_many() {
    let placed_at = |placed_ms: u64, cancelled_ms: u64| {
        let mut both = both();
        let attempts = &mut sibling(&mut both).attempts;
        (attempts[1].began_ms, attempts[1].ended_ms) = (cancelled_ms, cancelled_ms + 1);
        (attempts[2].began_ms, attempts[2].ended_ms) = (placed_ms, placed_ms + 1);
        kinds(&both)
    };
    assert_eq!(placed_at(50, 100), [Kind::WronglyAccepted]);
    // It was answered when the cancellation was under way.
    assert_eq!(placed_at(50, 51), []);
}

#[test]
fn a_document_that_is_held_without_an_active_order_has_lost_its_cancellation() {
    let mut cancelled = both();
    let event = order("B", 1);
    let orders = of_orders([sibling(&mut cancelled).events.clone(), vec![event]].concat());
    cancelled.orders.events = crate::orders::recorded(&orders.events);
    cancelled.orders.marks[1].version = Some(1);
    cancelled.sibling = Some(Box::new(orders));
    assert_eq!(kinds(&cancelled), [Kind::Lost]);

    // Nobody has heard of any order.
    let mut of_nobody = both();
    of_nobody.orders.events.clear();
    assert!(kinds(&of_nobody).contains(&Kind::Lost));
}

#[test]
fn a_document_that_its_order_has_or_gives_back_after_20_s_is_late() {
    for which in [1, 2] {
        let mut late = both();
        let sibling_events = &mut sibling(&mut late).events;
        sibling_events.iter_mut().for_each(|it| it.made_at_ms = 100);
        for message in &mut sibling(&mut late).messages {
            message.stored_ms = 100;
        }
        late.messages[which].stored_ms = 20_101;
        for event in &mut late.events {
            event.made_at_ms = 20_000;
        }
        let found = check(&late);
        assert!(found.iter().all(|it| it.kind == Kind::Late), "{found:?}");
        assert!(found.iter().any(|it| it.what.starts_with("a document")));

        // Either service was away.
        let mut away = late.clone();
        away.unhealthy = vec![(5_000, 12_000)];
        assert_eq!(kinds(&away), []);
        let mut away = late.clone();
        sibling(&mut away).unhealthy = vec![(5_000, 12_000)];
        assert_eq!(kinds(&away), []);

        // Nobody has told the client of the order, but the stream has: that was its commit.
        let mut unclear = late.clone();
        let orders = sibling(&mut unclear);
        for (attempt, message) in orders.attempts.iter_mut().zip(&mut orders.messages) {
            (attempt.ended_ms, message.stored_ms) = (15_000, 90);
        }
        assert!(kinds(&unclear).contains(&Kind::Late));

        // Its message was published again, or the order's.
        let mut again = late.clone();
        again.lost = lost("k", 20_050, 20_200);
        assert_eq!(kinds(&again), []);
        for (from_ms, until_ms, is_excused) in
            [(5_000, 9_000, true), (0, 0, false), (20_200, 30_000, false)]
        {
            let mut again = late.clone();
            let of_each = ["A", "B"].map(|order| lost(order, from_ms, until_ms).0);
            sibling(&mut again).lost = Lost(of_each.concat());
            assert_eq!(kinds(&again).is_empty(), is_excused, "{from_ms}");
        }
    }
}

#[test]
fn a_cancelled_order_that_never_had_its_free_document_came_before_its_creation() {
    let waited = |from: u64| {
        let mut waited = both();
        let mut events = sibling(&mut waited).events.clone();
        events.extend([order("C", 0), order("C", 1)]);
        for event in &mut events[3..] {
            event.made_at_ms = from;
        }
        let orders = of_orders(events);
        waited.orders.events = crate::orders::recorded(&orders.events);
        waited.orders.marks.push(mark("C", 1));
        waited.sibling = Some(Box::new(orders));
        waited
    };
    // Behind A or B.
    assert_eq!(kinds(&waited(100)), []);

    // Nobody has the document any more, or not for a long time yet.
    let mut free = waited(100);
    free.documents[0].says[HOLDER] = Value::Null;
    free.events[2].data[HOLDER] = Value::Null;
    free.messages[2] = message(3, &free.events[2]);
    free.known[0].says["orderId"] = Value::Null;
    let others = ["A0", "A1", "C0", "C1"];
    let orders = sibling(&mut free);
    orders.events.retain(|it| others.contains(&&it.id[1..]));
    *orders = of_orders(orders.events.clone());
    free.orders.events = crate::orders::recorded(&free.sibling.as_ref().unwrap().events);
    free.orders.marks.remove(1);
    assert_eq!(kinds(&free), [Kind::Reordered]);

    let mut later = waited(0);
    later.events[1..]
        .iter_mut()
        .for_each(|it| it.made_at_ms = 20_200);
    assert_eq!(kinds(&later), [Kind::Reordered]);

    // Its messages were published again.
    sibling(&mut later).lost = lost("C", 100, 200);
    assert_eq!(kinds(&later), []);
    sibling(&mut later).lost = lost("C", 30_000, 40_000);
    assert_eq!(kinds(&later), [Kind::Reordered]);
}

/// An order that was refused at this time, with this status.
fn refused(both: &mut Observed, status: u16, began_ms: u64) {
    let mut refused = attempt("r", Outcome::Refused);
    (refused.expected, refused.status) = (201, status);
    refused.or_refused = &[404, 409];
    refused.says = json!({ "/ticket/id": "k" });
    (refused.began_ms, refused.ended_ms) = (began_ms, began_ms + 1);
    sibling(both).attempts.push(refused);
}

#[test]
fn an_order_is_refused_for_another_one_that_may_be_active() {
    let mut taken = both();
    refused(&mut taken, 409, 100);
    assert_eq!(kinds(&taken), []);

    // B came later, and A was gone.
    sibling(&mut taken).events[2].made_at_ms = 102;
    assert_eq!(kinds(&taken), [Kind::WronglyRefused]);

    // Nobody has told the client of A that it is cancelled, but the stream has.
    sibling(&mut taken).attempts[1].outcome = Outcome::Unknown;
    assert_eq!(kinds(&taken), [Kind::WronglyRefused]);
    sibling(&mut taken).messages[1].stored_ms = 101;
    assert_eq!(kinds(&taken), []);
}

#[test]
fn an_order_of_a_document_that_was_made_20_s_ago_is_not_refused_because_it_is_unknown() {
    let mut unknown = both();
    refused(&mut unknown, 404, 20_001);
    assert_eq!(kinds(&unknown), []);
    refused(&mut unknown, 404, 20_002);
    assert_eq!(kinds(&unknown), [Kind::Late]);

    unknown.unhealthy = vec![(5_000, 12_000)];
    assert_eq!(kinds(&unknown), []);
}
