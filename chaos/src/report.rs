//! The table on the terminal, and the same as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    availability::{Availability, Windows, is_under},
    checker::{Kind, Violation, check, moves},
    fault::Fault,
    floors::{Aim, Floor, floors},
    history::{Attempt, Observed, Outcome},
    inject::Injected,
    timeline::{Second, timeline},
    usage::{self, Look},
    world::Size,
};

const SHOWN_VIOLATIONS: usize = 5;

/// What a run came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) aim: Aim,
    size: Size,
    writes: BTreeMap<&'static str, usize>,
    statuses: BTreeMap<u16, usize>,
    /// Of the service that takes them, where there is one.
    orders: Option<Orders>,
    documents: usize,
    events: usize,
    /// Those that are parked, and what waits behind them.
    unsent: usize,
    messages: usize,
    pub(crate) injected: Vec<Injected>,
    floors: Vec<Floor>,
    counts: BTreeMap<Kind, usize>,
    crashes: Crashes,
    by_fault: BTreeMap<String, Availability>,
    only_nats_at_fault: Availability,
    no_fault: Availability,
    pub(crate) violations: Vec<Violation>,
    /// From the beginning to the end.
    pub(crate) usage: Vec<Look>,
    /// Each second of the load.
    pub(crate) timeline: Vec<Second>,
}

/// Orders, and what became of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Orders {
    placed: usize,
    cancelled: usize,
    /// From the making of an order's event to the message of its document's: of half of them, of 99 of a hundred, and the longest.
    reserved_ms: [u64; 3],
}

impl Orders {
    fn new(observed: &Observed) -> Option<Self> {
        let sibling = observed.sibling.as_ref()?;
        let placed = sibling.events.iter().filter(|it| it.version == 0).count();
        let moves = moves(observed, sibling);
        let reserved = moves.iter().filter(|it| it.event.version == 0);
        let took = reserved.map(|it| it.moved_ms.saturating_sub(it.event.made_at_ms));
        let mut took: Vec<u64> = took.collect();
        took.sort_unstable();
        let at = |share: f64| {
            let place = (took.len() as f64 * share) as usize;
            took.get(place).or(took.last()).copied().unwrap_or_default()
        };
        Some(Self {
            placed,
            cancelled: sibling.events.len() - placed,
            reserved_ms: [at(0.5), at(0.99), at(1.0)],
        })
    }
}

/// How often a process ended by itself, or badly when it was asked to.
#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Crashes {
    /// A violation.
    pub(crate) of_instances: u32,
    /// None: MongoDB ends where its disk is full. They are started again.
    pub(crate) of_servers: u32,
}

impl Report {
    pub(crate) fn new(
        aim: &Aim,
        size: Size,
        observed: &Observed,
        injected: Vec<Injected>,
        crashes: Crashes,
    ) -> Self {
        let attempts = &observed.all_attempts();
        let mut writes = BTreeMap::new();
        let mut statuses = BTreeMap::new();
        for attempt in attempts {
            let outcome = match attempt.outcome {
                Outcome::Accepted { .. } => "accepted",
                Outcome::Refused => "refused",
                Outcome::NotSent => "not sent",
                Outcome::Unknown => "unknown",
            };
            *writes.entry(outcome).or_default() += 1;
            *statuses.entry(attempt.status).or_default() += 1;
        }
        let violations = check(observed);
        let mut counts: BTreeMap<_, _> = Kind::ALL.map(|kind| (kind, 0)).into();
        for violation in &violations {
            *counts.entry(violation.kind).or_default() += 1;
        }
        let windows = Windows::new(&injected);
        let of_nats = injected.iter().filter(|f| f.fault.is_of_nats()).count();
        Self {
            aim: aim.clone(),
            size,
            writes,
            statuses,
            orders: Orders::new(observed),
            documents: observed.documents.len(),
            events: observed.events.len(),
            unsent: observed.events.iter().filter(|it| !it.is_sent).count(),
            messages: observed.messages.len(),
            floors: floors(aim, observed, &injected),
            counts,
            crashes,
            by_fault: by_fault(attempts, &injected),
            only_nats_at_fault: Availability::new(of_nats, &windows.only_nats_at_fault(attempts)),
            no_fault: Availability::new(0, &windows.no_fault(attempts)),
            injected,
            violations,
            usage: Vec::new(),
            timeline: timeline(observed),
        }
    }

    /// Why the run failed, in one sentence; none where it shows that every promise was kept.
    pub(crate) fn failure(&self) -> Option<String> {
        let broken = self.counts.iter().filter(|(_, count)| **count > 0);
        let mut why: Vec<String> = broken
            .map(|(kind, count)| format!("{}: {count}", name(kind)))
            .collect();
        if self.crashes.of_instances > 0 {
            why.push(format!("crashes: {}", self.crashes.of_instances));
        }
        let too_little = self.floors.iter().filter(|floor| !floor.holds);
        why.extend(too_little.map(ToString::to_string));
        (!why.is_empty()).then(|| format!("the run failed: {}", why.join("; ")))
    }

    /// What ran, and how much of what came of it, in one line.
    pub(crate) fn summary(&self) -> String {
        let Size {
            instances,
            mongo,
            nats,
        } = self.size;
        let Aim { seconds, .. } = self.aim;
        let Self {
            documents,
            events,
            unsent,
            messages,
            ..
        } = self;
        format!(
            "{seconds} s: {instances} instances, {mongo} MongoDB, {nats} NATS; {documents} documents, {events} events, {unsent} of them parked or behind one that is, {messages} messages"
        )
    }

    /// How the writes went.
    pub(crate) fn print_writes(&self) {
        println!("\nseed {}, {}", self.aim.seed, self.summary());
        println!("writes {:?}, statuses {:?}", self.writes, self.statuses);
        if let Some(Orders {
            placed,
            cancelled,
            reserved_ms: [middle, late, last],
        }) = &self.orders
        {
            println!(
                "orders: {placed} placed, {cancelled} cancelled; reserved after {middle} ms (p50), {late} ms (p99), {last} ms at the latest"
            );
        }
        println!(
            "\n  {:<20} {:>6} {:>8} {:>10} {:>11}",
            "during", "faults", "writes", "failed", "p99 of rest"
        );
        for (fault, availability) in &self.by_fault {
            println!("{}", availability.row(fault));
        }
        println!("{}", self.only_nats_at_fault.row("only NATS at fault"));
        println!("{}", self.no_fault.row("no fault"));
    }

    /// What instances and harness held meanwhile.
    pub(crate) fn print_usage(&self) {
        println!("\n  held at the beginning, at most in each quarter of the run, at the end");
        for row in usage::table(&self.usage) {
            println!("  {row}");
        }
    }

    /// Whether enough happened to show anything.
    pub(crate) fn print_floors(&self) {
        println!();
        for injected in self.injected.iter().filter(|fault| !fault.took_effect()) {
            let Injected {
                fault,
                began_ms,
                seen,
                ..
            } = injected;
            println!("  {fault} at {began_ms} ms had no effect: {seen}");
        }
        for floor in &self.floors {
            let verdict = if floor.holds { "" } else { "TOO LITTLE: " };
            println!("  {verdict}{floor}");
        }
    }

    /// Which promises were broken, and the documents that show it.
    pub(crate) fn print_verdict(&self) {
        println!();
        for (kind, count) in &self.counts {
            println!("  {:<15} {count}", name(kind));
        }
        let Crashes {
            of_instances,
            of_servers,
        } = self.crashes;
        println!(
            "  {:<15} {of_instances}, and {of_servers} of servers, which were started again",
            "crashes"
        );
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

/// How the writes went under each kind of fault that took effect.
fn by_fault(attempts: &[Attempt], injected: &[Injected]) -> BTreeMap<String, Availability> {
    let mut by_kind = BTreeMap::<_, Vec<_>>::new();
    for injected in injected.iter().filter(|fault| fault.took_effect()) {
        by_kind.entry(injected.fault).or_default().push(injected);
    }
    let availability = |(kind, faults): (Fault, Vec<&Injected>)| {
        let is_meanwhile = |a: &&Attempt| faults.iter().any(|fault| is_under(a, fault));
        let meanwhile: Vec<_> = attempts.iter().filter(is_meanwhile).collect();
        let availability = Availability::new(faults.len(), &meanwhile);
        (kind.to_string(), availability)
    };
    by_kind.into_iter().map(availability).collect()
}

pub(crate) fn name(kind: &Kind) -> String {
    match json!(kind) {
        Value::String(name) => name,
        other => other.to_string(),
    }
}
