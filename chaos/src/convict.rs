//! Builds with a defect on purpose: each must be convicted, else the checker is worth nothing. The defects are the patches in
//! `chaos/defects/`; `scripts/convict` builds them.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{Programs, checker::Kind, fault::Fault, floors::Aim, schedule::Planned, world::Size};

/// A defect, and under what it shows.
struct Defect {
    name: &'static str,
    writes_a_second: u32,
    /// With their beginning and length in seconds.
    faults: &'static [(Fault, u64, u64)],
    /// What it is convicted of.
    kind: Kind,
    /// By which rule, where another rule of the kind would not see it.
    rule: Option<&'static str>,
}

const DEFECTS: [Defect; 14] = [
    // What waits in a black hole is lost when the connection is cut, after its acknowledgement was given up.
    Defect {
        name: "mark-before-ack",
        writes_a_second: 60,
        faults: &[(Fault::BlackHoleNats, 2, 9), (Fault::CutNats, 9, 1)],
        kind: Kind::Premature,
        rule: None,
    },
    Defect {
        name: "no-message-id",
        writes_a_second: 60,
        faults: &[],
        kind: Kind::Altered,
        rule: None,
    },
    // Slow acknowledgements: the publisher is killed with some on their way, and away for longer than the window.
    Defect {
        name: "no-expected-sequence",
        writes_a_second: 60,
        faults: &[(Fault::SlowNats, 2, 6), (Fault::KillPublisher, 5, 3)],
        kind: Kind::Duplicate,
        rule: None,
    },
    // As many transactions as there can be: the instance is killed with some of them open.
    Defect {
        name: "event-outside-transaction",
        writes_a_second: 1_000,
        faults: &KILLED_OFTEN,
        kind: Kind::Half,
        rule: None,
    },
    // Saved, and killed before the answer: the client sends it again.
    Defect {
        name: "no-idempotency",
        writes_a_second: 1_000,
        faults: &KILLED_OFTEN,
        kind: Kind::Repeated,
        rule: None,
    },
    Defect {
        name: "no-tracestate",
        writes_a_second: 60,
        faults: &[],
        kind: Kind::Altered,
        rule: Some("a message with other headers than its event's"),
    },
    Defect {
        name: "update-keeps-its-time",
        writes_a_second: 60,
        faults: &[],
        kind: Kind::Altered,
        rule: Some("a document that differs from its events"),
    },
    Defect {
        name: "read-from-memory",
        writes_a_second: 60,
        faults: &[],
        kind: Kind::Stale,
        rule: None,
    },
    // Two changes of one version, and both are let through.
    Defect {
        name: "if-match-is-looked-at-before",
        writes_a_second: 400,
        faults: &[],
        kind: Kind::WronglyAccepted,
        rule: Some("a change of another version than If-Match names"),
    },
    Defect {
        name: "etag-of-the-version-before",
        writes_a_second: 60,
        faults: &[],
        kind: Kind::WrongAnswer,
        rule: None,
    },
    Defect {
        name: "answer-without-its-headers",
        writes_a_second: 60,
        faults: &[],
        kind: Kind::WrongAnswer,
        rule: Some("a stored answer that is not the one that was given"),
    },
    Defect {
        name: "parks-what-passes",
        writes_a_second: 60,
        faults: &[(Fault::BlackHoleNats, 2, 9)],
        kind: Kind::WronglyParked,
        rule: None,
    },
    Defect {
        name: "queue-is-forgotten",
        writes_a_second: 200,
        faults: &[],
        kind: Kind::Stuck,
        rule: Some("a document that nobody has, although an order waits for it"),
    },
    Defect {
        name: "reserved-can-be-changed",
        writes_a_second: 100,
        faults: &[],
        kind: Kind::WronglyAccepted,
        rule: Some("a change of a document that an order holds"),
    },
];
/// Those that two services show: with two instances of each.
const OF_THE_LOOP: [Defect; 5] = [
    // Two clients order a ticket at the same time.
    Defect {
        name: "a-ticket-has-several-orders",
        writes_a_second: 200,
        faults: &[],
        kind: Kind::WronglyAccepted,
        rule: Some("two orders of a document that were active at once"),
    },
    // The instance dies with messages in hand, which nobody gives back.
    Defect {
        name: "inbox-acknowledges-what-it-has-not-applied",
        writes_a_second: 100,
        faults: &KILLED_OFTEN,
        kind: Kind::Lost,
        rule: Some("an order's event without its mark"),
    },
    // The transaction fails, and its message counts as applied.
    Defect {
        name: "mark-outside-the-transaction",
        writes_a_second: 100,
        faults: &KILLED_OFTEN,
        kind: Kind::Lost,
        rule: Some("a document without the orders that want it, or with others"),
    },
    // One instance has creations in hand, and is stopped; the other has their cancellations.
    Defect {
        name: "any-newer-version-is-next",
        writes_a_second: 100,
        faults: &STOPPED,
        kind: Kind::Reordered,
        rule: Some("a cancelled order that never had its document, although no other had it"),
    },
    // The same: who applies the creation then does not see that its cancellation waits.
    Defect {
        name: "put-aside-without-the-mark",
        writes_a_second: 100,
        faults: &STOPPED,
        kind: Kind::Late,
        rule: Some("a document that an order has, or gives back, over 20 s after its commit"),
    },
];
const STOPPED: [(Fault, u64, u64); 1] = [(Fault::PauseInstance, 1, 8)];
const KILLED_OFTEN: [(Fault, u64, u64); 4] = [
    (Fault::KillInstance, 2, 0),
    (Fault::KillInstance, 4, 0),
    (Fault::KillInstance, 6, 0),
    (Fault::KillInstance, 8, 0),
];
const CONVICTION_SECONDS: u64 = 11;

/// Runs the build with this defect.
///
/// # Errors
/// When it is not convicted, or can't be tried.
pub(crate) async fn convict(name: &str, programs: &Programs) -> anyhow::Result<()> {
    let is_it = |defect: &&Defect| defect.name == name;
    let of_the_loop = OF_THE_LOOP.iter().find(is_it);
    let defect = of_the_loop.or(DEFECTS.iter().find(is_it));
    let Defect {
        writes_a_second,
        faults,
        kind,
        rule,
        ..
    } = defect.with_context(|| format!("no defect is called {name}"))?;
    let aim = Aim {
        seed: 1,
        seconds: CONVICTION_SECONDS,
        rate: *writes_a_second,
        faults: faults.len(),
        includes_nats: false,
    };
    let faults = faults.iter().map(|(fault, at, lasts)| Planned {
        at: Duration::from_secs(*at),
        lasts: Duration::from_secs(*lasts),
        fault: *fault,
        target: 0,
        is_of_one: false,
    });
    let size = match of_the_loop {
        Some(_) => Size::ONE.of_the_loop(),
        None => Size::ONE,
    };
    let mut experiment = programs.experiment(aim, size, faults.collect())?;
    if of_the_loop.is_none() {
        experiment.orders = None;
    } else {
        ensure!(experiment.orders.is_some(), "{name} needs --orders");
    }
    experiment.folder.push(name);
    let report = experiment.run().await?;
    report.print_writes();
    report.print_verdict();
    let is_convicted = report
        .violations
        .iter()
        .any(|violation| violation.kind == *kind && rule.is_none_or(|rule| rule == violation.what));
    ensure!(is_convicted, "{name} is NOT CONVICTED");
    println!("{name}: convicted");
    Ok(())
}
