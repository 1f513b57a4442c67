//! The few operations that show a broken rule: those of its document, around its moment.

use crate::history::{Attempt, Observed, Outcome};

const MOST: usize = 30;

/// In the order of their times.
pub(super) fn around(observed: &Observed, key: Option<&str>, at_ms: Option<u64>) -> Vec<String> {
    let Some(key) = key else { return Vec::new() };
    let mut lines: Vec<(u64, String)> = Vec::new();
    for attempt in observed
        .attempts
        .iter()
        .filter(|attempt| is_of(attempt, key))
    {
        lines.push((attempt.began_ms, of_attempt(attempt)));
    }
    for read in observed.reads.iter().filter(|read| read.key == key) {
        let line = format!("read until {}: version {:?}", read.ended_ms, read.version);
        lines.push((read.began_ms, line));
    }
    for event in observed.events.iter().filter(|event| event.key == key) {
        let sent = if event.is_sent { "YES" } else { "NO" };
        let (id, version) = (&event.id, event.version);
        let line = format!("event {id}: version {version}, sent {sent}");
        lines.push((event.made_at_ms, line));
    }
    for message in &observed.messages {
        if message.header("ce-subject") == Some(key) {
            let version = message.header("ce-keyversion").unwrap_or("?");
            let (sequence, id) = (message.sequence, message.message_id().unwrap_or("?"));
            let line = format!("message {sequence}: {id}, version {version}");
            lines.push((message.stored_ms, line));
        }
    }
    lines.sort();
    let middle = at_ms.map_or(0, |at_ms| lines.partition_point(|(time, _)| *time <= at_ms));
    let first = middle.saturating_sub(MOST * 2 / 3);
    let few = lines.into_iter().skip(first).take(MOST);
    few.map(|(time, line)| format!("{time:>9} ms  {line}"))
        .collect()
}

fn is_of(attempt: &Attempt, key: &str) -> bool {
    let made = matches!(&attempt.outcome, Outcome::Accepted { key: made, .. } if made == key);
    made || attempt.path.ends_with(key)
}

fn of_attempt(attempt: &Attempt) -> String {
    let Attempt {
        operation,
        intent,
        status,
        tries,
        ended_ms,
        outcome,
        trace,
        ..
    } = attempt;
    let version = match outcome {
        Outcome::Accepted { version, .. } => format!("version {version}"),
        other => format!("{other:?}"),
    };
    format!(
        "operation {operation} ({intent:?}) until {ended_ms}: {status}, {version}, {tries} tries, trace {trace}"
    )
}
