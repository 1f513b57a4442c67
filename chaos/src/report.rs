//! The table on the terminal, and the same as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    checker::{Kind, Violation},
    history::{Attempt, Observed, Outcome},
    inject::Injected,
    schedule::Fault,
};

/// So long after any other fault a write's failure may still be its doing: an election, a lease, a restart.
const AFTERMATH_MS: u64 = 15_000;
const SHOWN_VIOLATIONS: usize = 5;

/// What a run came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) rate: u32,
    pub(crate) size: [usize; 3],
    writes: BTreeMap<&'static str, usize>,
    statuses: BTreeMap<u16, usize>,
    tickets: usize,
    events: usize,
    messages: usize,
    faults: Vec<Injected>,
    pub(crate) counts: BTreeMap<Kind, usize>,
    /// Instances that ended by themselves, or badly when they were asked to.
    pub(crate) crashes: u32,
    by_fault: BTreeMap<String, Availability>,
    only_nats_at_fault: Availability,
    no_fault: Availability,
    violations: Vec<Violation>,
}

/// How the writes of a time went; those that had to be refused count as answered.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Availability {
    faults: usize,
    writes: usize,
    failed: usize,
    p99_ms: u64,
}

impl Availability {
    fn of<'a>(faults: usize, attempts: impl Iterator<Item = &'a Attempt>) -> Self {
        let mut took = Vec::new();
        let mut failed = 0;
        for attempt in attempts {
            match attempt.status {
                200..500 => took.push(attempt.ended_ms - attempt.began_ms),
                _ => failed += 1,
            }
        }
        took.sort_unstable();
        let p99 = took.get((took.len() * 99).div_ceil(100).saturating_sub(1));
        Self {
            faults,
            writes: took.len() + failed,
            failed,
            p99_ms: p99.copied().unwrap_or_default(),
        }
    }

    fn row(&self, name: impl std::fmt::Display) -> String {
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

impl Report {
    pub(crate) fn new(
        (seed, seconds, rate): (u64, u64, u32),
        size: [usize; 3],
        observed: &Observed,
        faults: Vec<Injected>,
        crashes: u32,
        violations: Vec<Violation>,
    ) -> Self {
        let attempts = &observed.attempts;
        let mut writes = BTreeMap::new();
        let mut statuses = BTreeMap::new();
        for attempt in attempts {
            let outcome = match attempt.outcome {
                Outcome::Ok { .. } => "ok",
                Outcome::Rejected => "rejected",
                Outcome::Unknown => "unknown",
            };
            *writes.entry(outcome).or_default() += 1;
            *statuses.entry(attempt.status).or_default() += 1;
        }
        let mut counts: BTreeMap<_, _> = Kind::ALL.map(|kind| (kind, 0)).into();
        for violation in &violations {
            *counts.entry(violation.kind).or_default() += 1;
        }
        let mut kinds: Vec<Fault> = faults.iter().map(|injected| injected.fault).collect();
        kinds.sort();
        kinds.dedup();
        let by_fault = kinds.into_iter().map(|kind| {
            let of: Vec<_> = faults
                .iter()
                .filter(|injected| injected.fault == kind)
                .collect();
            let during = attempts
                .iter()
                .filter(|attempt| of.iter().any(|i| overlaps(attempt, i, 0)));
            (kind.to_string(), Availability::of(of.len(), during))
        });
        let (of_nats, others): (Vec<_>, Vec<_>) = faults.iter().partition(|i| i.fault.is_of_nats());
        let is_other = |attempt: &Attempt| {
            let poison = |i: &Injected| i.fault == Fault::Poison;
            others
                .iter()
                .any(|i| !poison(i) && overlaps(attempt, i, AFTERMATH_MS))
        };
        let is_nats = |attempt: &Attempt| of_nats.iter().any(|i| overlaps(attempt, i, 0));
        let only_nats = attempts.iter().filter(|a| is_nats(a) && !is_other(a));
        let none = attempts.iter().filter(|a| !is_nats(a) && !is_other(a));
        Self {
            seed,
            seconds,
            rate,
            size,
            writes,
            statuses,
            tickets: observed.tickets.len(),
            events: observed.events.len(),
            messages: observed.messages.len(),
            counts,
            crashes,
            by_fault: by_fault.collect(),
            only_nats_at_fault: Availability::of(of_nats.len(), only_nats),
            no_fault: Availability::of(0, none),
            faults,
            violations,
        }
    }

    /// Whether every promise was kept.
    pub(crate) fn is_good(&self) -> bool {
        self.violations.is_empty() && self.crashes == 0
    }

    pub(crate) fn print(&self) {
        let [instances, mongo, nats] = self.size;
        println!(
            "\nseed {}, {} s: {instances} instances, {mongo} MongoDB, {nats} NATS",
            self.seed, self.seconds
        );
        println!("writes {:?}, statuses {:?}", self.writes, self.statuses);
        println!(
            "{} tickets, {} events, {} messages",
            self.tickets, self.events, self.messages
        );
        println!(
            "\n  {:<20} {:>6} {:>8} {:>10} {:>11}",
            "during", "faults", "writes", "failed", "p99 of rest"
        );
        for (fault, availability) in &self.by_fault {
            println!("{}", availability.row(fault));
        }
        println!("{}", self.only_nats_at_fault.row("only NATS at fault"));
        println!("{}", self.no_fault.row("no fault"));
        for injected in &self.faults {
            if let Some(failure) = &injected.failure {
                println!(
                    "  {} at {} ms could not be injected: {failure}",
                    injected.fault, injected.began_ms
                );
            }
        }
        println!();
        for (kind, count) in &self.counts {
            println!("  {:<12} {count}", name(kind));
        }
        println!("  {:<12} {}", "crashes", self.crashes);
        for violation in self.violations.iter().take(SHOWN_VIOLATIONS) {
            println!(
                "{}: {}\n{:#}",
                name(&violation.kind),
                violation.what,
                violation.documents
            );
        }
    }
}

fn name(kind: &Kind) -> String {
    match json!(kind) {
        Value::String(name) => name,
        other => other.to_string(),
    }
}

fn overlaps(attempt: &Attempt, injected: &Injected, aftermath_ms: u64) -> bool {
    attempt.began_ms <= injected.ended_ms + aftermath_ms && attempt.ended_ms >= injected.began_ms
}
