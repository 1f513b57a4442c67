use serde_json::{Value, json};

use super::*;
use crate::history::{Event, Intent, Read, Seen};

fn attempt(began_ms: u64, ended_ms: u64, outcome: Outcome) -> Attempt {
    Attempt {
        operation: 1,
        trace: String::new(),
        intent: Intent::Change,
        path: String::new(),
        if_match: None,
        says: Value::Null,
        expected: 200,
        or_refused: &[],
        outcome,
        answers: Vec::new(),
        status: 200,
        tries: 1,
        began_ms,
        ended_ms,
    }
}

fn event(id: &str, made_at_ms: u64) -> Event {
    Event {
        id: id.to_owned(),
        r#type: String::new(),
        subject: String::new(),
        key: String::new(),
        version: 0,
        data: json!({}),
        traceparent: None,
        tracestate: None,
        made_ms: 0,
        made: String::new(),
        made_at_ms,
        is_sent: true,
        is_parked: false,
        is_skipped: false,
    }
}

fn seen(id: &str, stream: u32, stored_ms: u64) -> Seen {
    Seen {
        stream,
        sequence: 1,
        id: Some(id.to_owned()),
        stored_ms,
    }
}

fn accepted() -> Outcome {
    Outcome::Accepted {
        key: String::new(),
        version: 0,
    }
}

#[test]
fn a_write_counts_when_it_is_answered_and_its_time_when_it_was_begun() {
    let observed = Observed {
        attempts: vec![
            attempt(100, 140, accepted()),
            attempt(900, 2_100, Outcome::Refused),
            attempt(2_500, 2_600, Outcome::Unknown),
        ],
        reads: vec![Read {
            key: String::new(),
            version: None,
            says: Value::Null,
            began_ms: 2_000,
            ended_ms: 2_007,
        }],
        ..Observed::default()
    };
    let told = timeline(&observed);
    let counts = told.iter().map(|it| (it.saved, it.refused, it.unclear));
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [(1, 0, 0), (0, 0, 0), (0, 1, 1)]
    );
    assert_eq!(
        (told[0].write_p50_ms, told[0].write_p99_ms),
        (Some(40), Some(1_200))
    );
    assert_eq!((told[1].write_p50_ms, told[1].read_p99_ms), (None, None));
    assert_eq!(told[2].read_p99_ms, Some(7));
}

#[test]
fn an_event_lags_until_its_message_was_stored_first_and_one_that_is_dated_later_is_left_out() {
    let observed = Observed {
        attempts: vec![attempt(0, 1_900, accepted())],
        events: vec![
            event("lost-and-replayed", 1_000),
            event("prompt", 1_500),
            event("never-stored", 1_600),
            event("planted", u64::MAX),
        ],
        seen: vec![
            seen("lost-and-replayed", 1, 9_000),
            seen("lost-and-replayed", 0, 1_300),
            seen("prompt", 0, 1_502),
            seen("planted", 0, 1_700),
        ],
        ..Observed::default()
    };
    let told = timeline(&observed);
    assert_eq!(told.len(), 2);
    assert_eq!(
        (told[1].lag_p50_ms, told[1].lag_most_ms),
        (Some(2), Some(300))
    );
    assert_eq!(told[0].lag_most_ms, None);
}
