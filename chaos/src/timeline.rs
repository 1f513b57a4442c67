//! What each second of a run was like for clients and for events, which `picture` shows beside the faults.

use serde::Serialize;

use crate::history::{Attempt, Observed, Outcome};

/// One second of the load. Where nothing of a kind happened, there is no number.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Second {
    /// Writes whose last answer came in this second: that they are saved, that they are refused, and none that is clear.
    pub(crate) saved: usize,
    pub(crate) refused: usize,
    pub(crate) unclear: usize,
    /// From the first try of a write that began in this second to its last answer.
    pub(crate) write_p50_ms: Option<u64>,
    pub(crate) write_p99_ms: Option<u64>,
    pub(crate) read_p99_ms: Option<u64>,
    /// From the making of an event in this second, a moment before its commit, to its message.
    pub(crate) lag_p50_ms: Option<u64>,
    pub(crate) lag_most_ms: Option<u64>,
}

/// What was measured in one second.
#[derive(Default)]
struct Measured {
    second: Second,
    writes_ms: Vec<u64>,
    reads_ms: Vec<u64>,
    lags_ms: Vec<u64>,
}

/// From the beginning of the load to what came of it last.
pub(crate) fn timeline(observed: &Observed) -> Vec<Second> {
    let mut seconds = Vec::new();
    for attempt in &observed.attempts {
        at(&mut seconds, attempt.began_ms)
            .writes_ms
            .push(attempt.took_ms());
        *counter(&mut at(&mut seconds, attempt.ended_ms).second, attempt) += 1;
    }
    for read in &observed.reads {
        let took_ms = read.ended_ms - read.began_ms;
        at(&mut seconds, read.began_ms).reads_ms.push(took_ms);
    }
    let stored = observed.first_stored();
    for event in &observed.events {
        if let Some(stored_ms) = stored.get(event.id.as_str()) {
            let lag_ms = stored_ms.saturating_sub(event.made_at_ms);
            // One that is dated later was planted.
            if let Some(second) = seconds.get_mut(second_of(event.made_at_ms)) {
                second.lags_ms.push(lag_ms);
            }
        }
    }
    seconds.into_iter().map(Measured::told).collect()
}

fn second_of(ms: u64) -> usize {
    usize::try_from(ms / 1000).unwrap_or(usize::MAX)
}

fn at(seconds: &mut Vec<Measured>, ms: u64) -> &mut Measured {
    let second = second_of(ms);
    if seconds.len() <= second {
        seconds.resize_with(second + 1, Measured::default);
    }
    &mut seconds[second]
}

fn counter<'a>(second: &'a mut Second, attempt: &Attempt) -> &'a mut usize {
    match attempt.outcome {
        Outcome::Accepted { .. } => &mut second.saved,
        Outcome::Refused => &mut second.refused,
        Outcome::NotSent | Outcome::Unknown => &mut second.unclear,
    }
}

impl Measured {
    fn told(self) -> Second {
        let Self {
            mut second,
            mut writes_ms,
            mut reads_ms,
            mut lags_ms,
        } = self;
        for measured in [&mut writes_ms, &mut reads_ms, &mut lags_ms] {
            measured.sort_unstable();
        }
        second.write_p50_ms = percentile(&writes_ms, 50);
        second.write_p99_ms = percentile(&writes_ms, 99);
        second.read_p99_ms = percentile(&reads_ms, 99);
        second.lag_p50_ms = percentile(&lags_ms, 50);
        second.lag_most_ms = lags_ms.last().copied();
        second
    }
}

/// Of values that are sorted.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let at = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests;
