//! Hand-made histories: a good one, and one for each way to break a promise.

use serde_json::json;

use super::*;
use crate::history::{Attempt, Outcome};

mod answers;

/// Answered as it had to be; without a clear answer, an update that had to be accepted.
fn attempt(write: &str, outcome: Outcome) -> Attempt {
    let (expected, status) = match outcome {
        Outcome::Accepted { version: 0, .. } => (201, 201),
        Outcome::Accepted { .. } => (200, 200),
        Outcome::Refused => (412, 412),
        Outcome::NotSent => (200, 0),
        Outcome::Unknown => (200, 503),
    };
    Attempt {
        trace: write.to_owned(),
        says: json!({ "title": write }),
        expected,
        outcome,
        status,
        tries: 1,
        began_ms: 0,
        ended_ms: 1,
    }
}

/// Accepted as this version of the only document.
fn accepted(version: i64) -> Outcome {
    Outcome::Accepted {
        key: "k".to_owned(),
        version,
    }
}

fn traceparent(write: &str) -> Option<String> {
    Some(format!("00-{write}-1-00"))
}

fn event(version: i64, write: &str) -> Event {
    let r#type = if version == 0 { "created" } else { "updated" };
    Event {
        id: format!("e{version}"),
        subject: format!("thing.{type}.k"),
        key: "k".to_owned(),
        version,
        data: json!({ "version": version, "title": write, "size": 1 }),
        traceparent: traceparent(write),
        is_sent: true,
        is_parked: false,
    }
}

fn message(sequence: u64, event: &Event) -> Message {
    Message {
        sequence,
        subject: event.subject.clone(),
        message_id: Some(event.id.clone()),
        event_id: Some(event.id.clone()),
        payload: event.data.clone(),
        traceparent: event.traceparent.clone(),
        stored_ms: 0,
    }
}

/// A document created, updated with an unknown outcome that was saved, updated again; and a refused write.
fn good() -> Observed {
    let events = vec![event(0, "a"), event(1, "b"), event(2, "c")];
    Observed {
        attempts: vec![
            attempt("a", accepted(0)),
            attempt("b", Outcome::Unknown),
            attempt("c", accepted(2)),
            attempt("r", Outcome::Refused),
        ],
        planted: Vec::new(),
        documents: vec![Document {
            key: "k".to_owned(),
            version: 2,
            says: json!({ "title": "c", "size": 1 }),
        }],
        messages: (1..)
            .zip(&events)
            .map(|(sequence, event)| message(sequence, event))
            .collect(),
        events,
    }
}

fn kinds(observed: &Observed) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(observed)
        .iter()
        .map(|violation| violation.kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn a_good_history_has_no_violation() {
    assert_eq!(kinds(&good()), []);
    assert_eq!(kinds(&Observed::default()), []);
}

#[test]
fn an_accepted_write_without_document_event_or_message_is_lost() {
    let mut without_document = good();
    without_document.documents.clear();
    assert_eq!(kinds(&without_document), [Kind::Lost, Kind::Half]);

    let mut without_event = good();
    without_event.events.remove(2);
    without_event.messages.remove(2);
    assert_eq!(kinds(&without_event), [Kind::Lost, Kind::Half]);

    let mut without_message = good();
    without_message.messages.remove(2);
    assert_eq!(kinds(&without_message), [Kind::Lost, Kind::Premature]);

    // The version is another write's: this one was overwritten without a trace.
    let mut overwritten = good();
    overwritten.attempts[3] = attempt("r", accepted(2));
    assert_eq!(kinds(&overwritten), [Kind::Lost]);
}

#[test]
fn a_document_without_event_and_an_event_without_document_are_half() {
    let mut without_event = good();
    without_event.events.remove(1);
    without_event.messages.remove(1);
    assert_eq!(kinds(&without_event), [Kind::Half]);

    let mut without_document = good();
    without_document.attempts.remove(2);
    without_document
        .attempts
        .push(attempt("c", Outcome::Unknown));
    without_document.documents[0].version = 1;
    without_document.documents[0].says = json!({ "title": "b" });
    assert_eq!(kinds(&without_document), [Kind::Half]);
}

#[test]
fn what_is_left_of_a_write_that_was_refused_or_never_sent_or_of_none_is_a_phantom() {
    let mut refused = good();
    refused.attempts[1] = attempt("b", Outcome::Refused);
    assert_eq!(kinds(&refused), [Kind::Phantom]);

    let mut never_sent = good();
    never_sent.attempts[1] = attempt("b", Outcome::NotSent);
    assert_eq!(kinds(&never_sent), [Kind::Phantom]);

    let mut nobodys = good();
    nobodys.attempts.remove(1);
    assert_eq!(kinds(&nobodys), [Kind::Phantom]);

    let mut message_of_refused = good();
    message_of_refused.messages[1].traceparent = traceparent("r");
    assert_eq!(kinds(&message_of_refused), [Kind::Phantom, Kind::Altered]);

    let mut of_no_event = good();
    of_no_event.messages.push(message(
        4,
        &Event {
            id: "x".to_owned(),
            ..event(3, "b")
        },
    ));
    assert_eq!(kinds(&of_no_event), [Kind::Phantom]);
}

#[test]
fn yes_without_a_message_is_premature() {
    let mut premature = good();
    premature.messages.remove(1);
    assert_eq!(kinds(&premature), [Kind::Premature]);
}

#[test]
fn no_is_stuck_unless_it_is_parked_or_held_back() {
    let mut stuck = good();
    stuck.events[1].is_sent = false;
    assert_eq!(kinds(&stuck), [Kind::Stuck]);

    let mut parked = good();
    parked.attempts[2].outcome = Outcome::Unknown;
    parked.events[1].is_sent = false;
    parked.events[1].is_parked = true;
    parked.events[2].is_sent = false;
    parked.messages.truncate(1);
    assert_eq!(kinds(&parked), []);

    // Another key is not held back.
    parked.events[1].key = "other".to_owned();
    parked.planted.push("other".to_owned());
    assert!(kinds(&parked).contains(&Kind::Stuck));
}

#[test]
fn a_message_id_or_a_version_stored_twice_is_a_duplicate() {
    let mut id_twice = good();
    id_twice.messages.push(message(4, &event(2, "c")));
    assert_eq!(kinds(&id_twice), [Kind::Duplicate]);

    let mut version_twice = good();
    version_twice.events.push(Event {
        id: "e2b".to_owned(),
        ..event(2, "b2")
    });
    version_twice.attempts.push(attempt("b2", Outcome::Unknown));
    version_twice
        .messages
        .push(message(4, &version_twice.events[3]));
    assert_eq!(kinds(&version_twice), [Kind::Duplicate]);
}

#[test]
fn versions_out_of_their_order_are_reordered() {
    let mut reordered = good();
    reordered.messages.swap(1, 2);
    assert_eq!(kinds(&reordered), [Kind::Reordered]);

    let mut past_a_parked_one = good();
    past_a_parked_one.attempts[1].outcome = Outcome::Unknown;
    past_a_parked_one.events[1].is_sent = false;
    past_a_parked_one.events[1].is_parked = true;
    past_a_parked_one.messages.remove(1);
    assert_eq!(kinds(&past_a_parked_one), [Kind::Reordered]);
}

#[test]
fn what_differs_from_its_event_is_altered() {
    let mut payload = good();
    payload.messages[1].payload["price"] = json!(1);
    assert_eq!(kinds(&payload), [Kind::Altered]);

    let mut subject = good();
    subject.messages[1].subject = "thing.created.k".to_owned();
    assert_eq!(kinds(&subject), [Kind::Altered]);

    let mut without_id = good();
    without_id.messages[1].message_id = None;
    assert_eq!(kinds(&without_id), [Kind::Altered]);

    let mut trace = good();
    trace.messages[1].traceparent = traceparent("c");
    assert_eq!(kinds(&trace), [Kind::Altered]);
}

#[test]
fn an_event_that_differs_from_its_write_or_its_document_is_altered() {
    let mut write = good();
    write.attempts[1].says = json!({ "title": "z" });
    assert_eq!(kinds(&write), [Kind::Altered]);

    for says in [json!({ "size": 2 }), json!({ "another": null })] {
        let mut document = good();
        document.documents[0].says = says;
        assert_eq!(kinds(&document), [Kind::Altered]);
    }
}

#[test]
fn a_write_that_was_done_twice_is_repeated() {
    let mut twice = good();
    twice.events[1] = event(1, "a");
    twice.messages[1] = message(2, &twice.events[1]);
    assert_eq!(kinds(&twice), [Kind::Repeated]);
}

#[test]
fn planted_events_that_are_alike_are_no_write_that_was_done_twice() {
    let mut planted = good();
    for key in ["p", "q"] {
        planted.planted.push(key.to_owned());
        planted.events.push(Event {
            id: format!("e-{key}"),
            key: key.to_owned(),
            is_sent: false,
            is_parked: true,
            ..event(0, "planted")
        });
    }
    assert_eq!(kinds(&planted), []);
}
