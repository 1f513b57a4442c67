//! Hand-made histories: a good one, and one for each way to break a promise.

use serde_json::json;

use super::*;
use crate::history::{
    Answer, Attempt, Intent, Loss, Lost, Outcome, Read, Replica, Seen, StoredAnswer, tracestate,
};

mod answers;
mod both;
mod copies;
mod headers;
mod orders;
mod published;
mod said;
mod times;

/// Answered as it had to be; without a clear answer, an update that had to be accepted.
fn attempt(write: &str, outcome: Outcome) -> Attempt {
    let (expected, status) = match outcome {
        Outcome::Accepted { version: 0, .. } => (201, 201),
        Outcome::Accepted { .. } => (200, 200),
        Outcome::Refused => (412, 412),
        Outcome::NotSent => (200, 0),
        Outcome::Unknown => (200, 503),
    };
    let answers = match &outcome {
        Outcome::Accepted { version, .. } => vec![answer(*version, write)],
        _ => Vec::new(),
    };
    let is_new = matches!(outcome, Outcome::Accepted { version: 0, .. });
    Attempt {
        operation: 1,
        intent: Intent::Change,
        path: if is_new { "/things" } else { "/things/k" }.to_owned(),
        if_match: None,
        answers,
        trace: write.to_owned(),
        says: json!({ "title": write }),
        expected,
        or_refused: &[],
        outcome,
        status,
        tries: 1,
        began_ms: 0,
        ended_ms: 1,
    }
}

/// Messages of this key, from then until then.
fn lost(key: &str, from_ms: u64, until_ms: u64) -> Lost {
    Lost(vec![Loss {
        key: Some(key.to_owned()),
        from_ms,
        until_ms,
    }])
}

/// Accepted as this version of the only document.
fn accepted(version: i64) -> Outcome {
    Outcome::Accepted {
        key: "k".to_owned(),
        version,
    }
}

/// What the one is told whose write has made this version.
fn answer(version: i64, write: &str) -> Answer {
    Answer {
        status: if version == 0 { 201 } else { 200 },
        etag: Some(format!("\"{version}\"")),
        location: (version == 0).then(|| "/things/k".to_owned()),
        body: data(version, write),
    }
}

fn data(version: i64, write: &str) -> Value {
    json!({ "version": version, "title": write, "size": 1 })
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
        data: data(version, write),
        r#type: format!("thing.{type}"),
        traceparent: traceparent(write),
        tracestate: Some(tracestate(1)),
        made_ms: 1_000 + version,
        made: "2026-11-28T00:00:00Z".to_owned(),
        made_at_ms: 0,
        is_sent: true,
        is_parked: false,
        is_skipped: false,
    }
}

fn message(sequence: u64, event: &Event) -> Message {
    Message {
        sequence,
        subject: event.subject.clone(),
        headers: super::headers::of(event),
        payload: event.data.clone(),
        stored_ms: 0,
    }
}

/// A document created, updated with an unknown outcome that was saved, updated again; and a refused write.
fn good() -> Observed {
    let events = vec![event(0, "a"), event(1, "b"), event(2, "c")];
    let stored = |(version, write): (i64, &str)| StoredAnswer {
        trace: write.to_owned(),
        answer: answer(version, write),
    };
    Observed {
        answers: [(0, "a"), (1, "b"), (2, "c")].map(stored).to_vec(),
        attempts: vec![
            attempt("a", accepted(0)),
            attempt("b", Outcome::Unknown),
            attempt("c", accepted(2)),
            attempt("r", Outcome::Refused),
        ],
        documents: vec![Document {
            key: "k".to_owned(),
            version: 2,
            says: data(2, "c"),
            made_ms: 1_000,
            changed_ms: 1_002,
            waiting: Vec::new(),
            strange: Vec::new(),
        }],
        messages: (1..)
            .zip(&events)
            .map(|(sequence, event)| message(sequence, event))
            .collect(),
        events,
        ..Observed::default()
    }
}

/// Sets a header of the second message.
fn set(observed: &mut Observed, name: &str, value: &str) {
    let headers = &mut observed.messages[1].headers;
    headers.insert(name.to_owned(), value.to_owned());
}

/// An event of an injected fault.
fn plant(observed: &mut Observed, event: Event) {
    observed.planted.push(event.id.clone());
    observed.events.push(event);
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
    assert_eq!(
        kinds(&overwritten),
        [Kind::Lost, Kind::Half, Kind::WrongAnswer]
    );
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
    without_document.documents[0].says = data(1, "b");
    without_document.documents[0].changed_ms = 1_001;
    assert_eq!(kinds(&without_document), [Kind::Half]);
}

#[test]
fn what_is_left_of_a_write_that_was_refused_or_never_sent_or_of_none_is_a_phantom() {
    let mut refused = good();
    refused.attempts[1] = attempt("b", Outcome::Refused);
    assert_eq!(kinds(&refused), [Kind::Half, Kind::Phantom]);

    let mut never_sent = good();
    never_sent.attempts[1] = attempt("b", Outcome::NotSent);
    assert_eq!(kinds(&never_sent), [Kind::Half, Kind::Phantom]);

    let mut nobodys = good();
    nobodys.attempts.remove(1);
    nobodys.answers.remove(1);
    assert_eq!(kinds(&nobodys), [Kind::Phantom]);

    let mut message_of_refused = good();
    set(&mut message_of_refused, "traceparent", "00-r-1-00");
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
fn an_event_that_differs_from_its_write_or_its_document_is_altered() {
    let mut write = good();
    write.attempts[1].says = json!({ "title": "z" });
    assert_eq!(kinds(&write), [Kind::Altered]);

    let mut trace = good();
    trace.events[1].tracestate = None;
    trace.messages[1] = message(2, &trace.events[1]);
    assert_eq!(kinds(&trace), [Kind::Altered]);

    let differing: [fn(&mut Document); 6] = [
        |document| document.says["size"] = json!(2),
        |document| document.says["another"] = json!(null),
        |document| drop(document.says.as_object_mut().unwrap().remove("size")),
        |document| document.made_ms += 1,
        |document| document.changed_ms -= 1,
        |document| document.strange.push("orders".to_owned()),
    ];
    for differs in differing {
        let mut observed = good();
        differs(&mut observed.documents[0]);
        assert_eq!(kinds(&observed), [Kind::Altered]);
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
        let event = Event {
            id: format!("e-{key}"),
            key: key.to_owned(),
            is_sent: false,
            is_parked: true,
            ..event(0, "planted")
        };
        plant(&mut planted, event);
    }
    assert_eq!(kinds(&planted), []);
}
