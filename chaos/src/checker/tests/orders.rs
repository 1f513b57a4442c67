//! Orders that hold documents.

use super::*;
use crate::{
    domain::HOLDER,
    history::{Mark, OrderEvent, PutAside},
};

/// Version `version` of the only document, made by `trace`, while `holder` has it.
fn version(version: i64, trace: &str, holder: Value) -> Event {
    let mut event = event(version, trace);
    event.data = json!({ "version": version, "title": "a", HOLDER: holder });
    event
}

fn order(trace: &str, order: &str, version: i64) -> OrderEvent {
    OrderEvent {
        trace: trace.to_owned(),
        order: order.to_owned(),
        version,
        document: "k".to_owned(),
        began_ms: 10,
        is_acked: true,
    }
}

pub(super) fn mark(order: &str, version: i64) -> Mark {
    Mark {
        order: order.to_owned(),
        version: Some(version),
    }
}

/// Order A takes the document, B waits for it, A gives it back, and B has it.
pub(super) fn ordered() -> Observed {
    let events = vec![
        version(0, "a", Value::Null),
        version(1, "A0", json!("A")),
        version(2, "A1", json!("B")),
    ];
    let mut made = attempt("a", accepted(0));
    made.says = json!({ "title": "a" });
    made.intent = Intent::Keyless;
    made.answers[0].body = events[0].data.clone();
    let mut observed = Observed {
        attempts: vec![made],
        messages: (1..)
            .zip(&events)
            .map(|(at, event)| message(at, event))
            .collect(),
        events,
        answers: Vec::new(),
        ..good()
    };
    observed.documents[0].says = observed.events[2].data.clone();
    observed.orders.events = vec![
        order("A0", "A", 0),
        order("B0", "B", 0),
        order("A1", "A", 1),
    ];
    observed.orders.marks = vec![mark("A", 1), mark("B", 0)];
    observed
}

#[test]
fn each_event_of_an_order_is_applied_once() {
    assert_eq!(kinds(&ordered()), []);

    let mut twice = ordered();
    twice.events[2] = version(2, "A0", json!("B"));
    twice.messages[2] = message(3, &twice.events[2]);
    twice.documents[0].says = twice.events[2].data.clone();
    assert_eq!(kinds(&twice), [Kind::Repeated, Kind::Altered]);

    let mut without_mark = ordered();
    without_mark.orders.marks[0].version = Some(0);
    assert_eq!(kinds(&without_mark), [Kind::Lost]);

    let mut put_aside = ordered();
    put_aside.orders.put_aside.push(PutAside {
        message_id: "B-0".to_owned(),
        key: "B".to_owned(),
        reason: "it waits".to_owned(),
    });
    assert_eq!(kinds(&put_aside), [Kind::Stuck]);

    // An injected fault's.
    put_aside.planted.push("B-0".to_owned());
    assert_eq!(kinds(&put_aside), []);
}

#[test]
fn a_version_of_an_order_changes_its_holder_and_nothing_else() {
    let differing: [fn(&mut Value); 3] = [
        |data| data["title"] = json!("b"),
        |data| data[HOLDER] = json!("A"),
        |data| data["size"] = json!(1),
    ];
    for differs in differing {
        let mut observed = ordered();
        differs(&mut observed.events[2].data);
        observed.messages[2].payload = observed.events[2].data.clone();
        observed.documents[0].says = observed.events[2].data.clone();
        assert!(kinds(&observed).contains(&Kind::Altered));
    }
}

#[test]
fn a_document_has_the_orders_that_want_it_and_no_other() {
    let mut another = ordered();
    another.documents[0].waiting.push("C".to_owned());
    assert_eq!(kinds(&another), [Kind::Lost]);

    let mut waits = ordered();
    waits.orders.events.push(order("C0", "C", 0));
    waits.orders.marks.push(mark("C", 0));
    assert_eq!(kinds(&waits), [Kind::Lost]);
    waits.documents[0].waiting.push("C".to_owned());
    assert_eq!(kinds(&waits), []);

    // Nobody knows whether the stream has it.
    waits.documents[0].waiting.clear();
    waits.orders.events[3].is_acked = false;
    assert_eq!(kinds(&waits), []);
}

#[test]
fn a_document_that_nobody_has_while_an_order_waits_for_it_is_stuck() {
    let mut free = ordered();
    free.events[2] = version(2, "A1", Value::Null);
    free.messages[2] = message(3, &free.events[2]);
    free.documents[0].says = free.events[2].data.clone();
    free.documents[0].waiting.push("B".to_owned());
    assert_eq!(kinds(&free), [Kind::Stuck]);
}

#[test]
fn a_change_of_a_document_that_an_order_holds_is_wrongly_accepted() {
    let mut changed = ordered();
    let event = version(3, "c", json!("B"));
    let mut change = attempt("c", accepted(3));
    change.says = json!({ "title": "a" });
    change.intent = Intent::Keyless;
    change.answers[0].body = event.data.clone();
    changed.attempts.push(change);
    changed.documents[0].says = event.data.clone();
    changed.documents[0].version = 3;
    changed.documents[0].changed_ms = 1_003;
    changed.messages.push(message(4, &event));
    changed.events.push(event);
    assert_eq!(kinds(&changed), [Kind::WronglyAccepted]);
}

#[test]
fn a_refusal_for_an_order_needs_one_that_may_hold_the_document() {
    let refused = |began_ms| Attempt {
        expected: 200,
        status: 409,
        began_ms,
        ended_ms: began_ms + 1,
        ..attempt("r", Outcome::Refused)
    };
    let mut held = ordered();
    held.attempts.push(refused(100));
    assert_eq!(kinds(&held), []);

    // Somebody knew that nobody has it any more.
    let mut free = ordered();
    free.events[2] = version(2, "A1", Value::Null);
    free.messages[2] = message(3, &free.events[2]);
    free.documents[0].says = free.events[2].data.clone();
    free.orders.events.remove(1);
    free.orders.marks.remove(1);
    free.attempts.push(refused(20));
    assert_eq!(kinds(&free), []);
    free.reads.push(Read {
        key: "k".to_owned(),
        version: Some(2),
        says: Value::Null,
        began_ms: 10,
        ended_ms: 15,
    });
    assert_eq!(kinds(&free), [Kind::WronglyRefused]);

    // It was under way when its client gave up.
    free.attempts[1].outcome = Outcome::Unknown;
    assert_eq!(kinds(&free), []);
}
