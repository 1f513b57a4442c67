//! How writes fared while something was at fault, and while nothing was.

use std::fmt;

use serde::Serialize;

use crate::{history::Attempt, inject::Injected};

/// So long after any other fault a write's failure may still be its doing: an election, a lease, a restart.
const AFTERMATH_MS: u64 = 15_000;

/// When what was at fault.
pub(crate) struct Windows<'a> {
    of_nats: Vec<&'a Injected>,
    others: Vec<&'a Injected>,
}

impl<'a> Windows<'a> {
    pub(crate) fn new(faults: &'a [Injected]) -> Self {
        let (of_nats, others) = faults.iter().partition(|f| f.fault.is_of_nats());
        Self { of_nats, others }
    }

    /// Writes under a fault of NATS that took effect, while no other was under way or shortly over.
    pub(crate) fn only_nats_at_fault<'b>(&self, attempts: &'b [Attempt]) -> Vec<&'b Attempt> {
        let is_nats = |attempt: &Attempt| self.of_nats.iter().any(|f| is_under(attempt, f));
        let alone = attempts.iter().filter(|a| !self.is_under_another(a));
        alone.filter(|a| is_nats(a)).collect()
    }

    pub(crate) fn no_fault<'b>(&self, attempts: &'b [Attempt]) -> Vec<&'b Attempt> {
        let is_nats = |attempt: &Attempt| self.of_nats.iter().any(|f| may_suffer(attempt, f, 0));
        let alone = attempts.iter().filter(|a| !self.is_under_another(a));
        alone.filter(|a| !is_nats(a)).collect()
    }

    /// Poison, and what operators do, harm no write.
    fn is_under_another(&self, attempt: &Attempt) -> bool {
        let mut others = self.others.iter().filter(|f| !f.fault.is_harmless());
        others.any(|fault| may_suffer(attempt, fault, AFTERMATH_MS))
    }
}

/// Whether the attempt was under way while the fault had an effect.
pub(crate) fn is_under(attempt: &Attempt, fault: &Injected) -> bool {
    fault
        .took_effect_ms
        .is_some_and(|since| attempt.began_ms <= fault.ended_ms && attempt.ended_ms >= since)
}

/// Whether the fault, seen or not, may have harmed the attempt.
fn may_suffer(attempt: &Attempt, fault: &Injected, aftermath_ms: u64) -> bool {
    attempt.began_ms <= fault.ended_ms + aftermath_ms && attempt.ended_ms >= fault.began_ms
}

/// How the writes of a time went; those that had to be refused count as answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Availability {
    faults: usize,
    writes: usize,
    /// Without an answer, or answered 5xx, to the last.
    failed: usize,
    p99_ms: u64,
}

impl Availability {
    pub(crate) fn new(faults: usize, attempts: &[&Attempt]) -> Self {
        let answered = attempts.iter().filter(|a| (200..500).contains(&a.status));
        let mut took: Vec<u64> = answered.map(|attempt| attempt.took_ms()).collect();
        took.sort_unstable();
        let p99 = took.get((took.len() * 99).div_ceil(100).saturating_sub(1));
        Self {
            faults,
            writes: attempts.len(),
            failed: attempts.len() - took.len(),
            p99_ms: p99.copied().unwrap_or_default(),
        }
    }

    pub(crate) fn row(&self, name: impl fmt::Display) -> String {
        let share = 100.0 * self.failed as f64 / self.writes.max(1) as f64;
        let Self {
            faults,
            writes,
            p99_ms,
            ..
        } = self;
        format!("  {name:<20} {faults:>6} {writes:>8} {share:>8.2} % {p99_ms:>8} ms")
    }
}
