//! What answers say of what was saved: `ETag`, `Location` and body, to the one who wrote, from the store of answers, and to readers.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Findings, Index, Kind};
use crate::history::{Answer, Observed, Outcome};

/// Every answer to a write says what was saved, and the same as each other answer to it.
pub(super) fn said(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    for attempt in &observed.attempts {
        if let Outcome::Accepted { key, version } = &attempt.outcome {
            let event = index.event(key, *version);
            for answer in attempt.answers.iter().filter(|it| it.status < 400) {
                let location = format!("{}/{key}", attempt.path);
                let is_located =
                    answer.status != 201 || answer.location.as_ref() == Some(&location);
                let is_tagged = answer.etag == Some(etag(*version));
                let says = event.is_none_or(|event| event.data == answer.body);
                if !(is_located && is_tagged && says) {
                    let what = "an answer whose ETag, Location or body is not what was saved";
                    let shown = json!({ "attempt": attempt, "event": event });
                    found.add(Kind::WrongAnswer, what, shown);
                }
            }
        }
        // Between two at once an order may come or go.
        let may_be = |status: u16| status == 409 || attempt.or_refused.contains(&status);
        let may_differ = |pair: &[Answer]| pair.iter().any(|answer| may_be(answer.status));
        let differs = |pair: &[Answer]| !may_differ(pair) && !is_same(&pair[0], &pair[1]);
        if attempt.answers.windows(2).any(differs) {
            let what = "two answers to one write that differ";
            found.add(Kind::WrongAnswer, what, json!(attempt));
        }
    }
}

/// An accepted write with a key has its answer in the store, and nothing else has one.
pub(super) fn stored(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    let mut stored = HashMap::new();
    for kept in &observed.answers {
        stored.insert(kept.trace.as_str(), &kept.answer);
        let attempt = index.attempts.get(kept.trace.as_str());
        let is_of_a_write = attempt.is_some_and(|attempt| match attempt.outcome {
            Outcome::Accepted { .. } => attempt.has_key(),
            Outcome::Unknown => !attempt.must_be_refused(),
            Outcome::Refused | Outcome::NotSent => false,
        });
        if !is_of_a_write {
            let shown = json!({ "attempt": attempt, "stored": kept });
            found.add(Kind::Half, "a stored answer of no write", shown);
        }
    }
    for attempt in observed.attempts.iter().filter(|it| it.has_key()) {
        let kept = stored.get(attempt.trace.as_str()).copied();
        let was_saved = matches!(attempt.outcome, Outcome::Accepted { .. })
            || index.own_event(attempt).is_some();
        let shown = || json!({ "attempt": attempt, "stored": kept });
        match (kept, attempt.answers.iter().find(|it| it.status < 400)) {
            (None, _) if was_saved => {
                found.add(Kind::Half, "a write without its stored answer", shown());
            }
            (Some(kept), Some(answer)) if !is_same(kept, answer) => {
                let what = "a stored answer that is not the one that was given";
                found.add(Kind::WrongAnswer, what, shown());
            }
            _ => {}
        }
    }
}

/// What is read is what an event says.
pub(super) fn read(observed: &Observed, index: &Index<'_>, found: &mut Findings) {
    for read in &observed.reads {
        let Some(version) = read.version else {
            continue;
        };
        let event = index.event(&read.key, version);
        let is_said = event.is_some_and(|event| read.says.is_null() || event.data == read.says);
        if !is_said {
            let shown = json!({ "read": read, "event": event });
            found.add(Kind::WrongAnswer, "a read of what no event says", shown);
        }
    }
}

/// Problems have a body of their own each: which instance met it, and when.
fn is_same(one: &Answer, other: &Answer) -> bool {
    let body = |answer: &Answer| match answer.status {
        ..400 => answer.body.clone(),
        _ => Value::Null,
    };
    let head = |answer: &Answer| (answer.status, answer.etag.clone(), answer.location.clone());
    head(one) == head(other) && body(one) == body(other)
}

fn etag(version: i64) -> String {
    format!("\"{version}\"")
}
