//! Builds with a defect on purpose: each must be convicted, else the checker is worth nothing.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{Programs, checker::Kind, fault::Fault, floors::Aim, schedule::Planned, world::Size};

/// A defect, writes a second, faults under which it shows (with their beginning and length in seconds), and what it
/// is convicted of.
type Sabotage = (&'static str, u32, &'static [(Fault, u64, u64)], Kind);

const SABOTAGES: [Sabotage; 5] = [
    // What waits in a black hole is lost when the connection is cut, after its acknowledgement was given up.
    (
        "mark-before-ack",
        60,
        &[(Fault::BlackHoleNats, 2, 9), (Fault::CutNats, 9, 1)],
        Kind::Premature,
    ),
    ("no-message-id", 60, &[], Kind::Altered),
    // Slow acknowledgements: the publisher is killed with some on their way, and away for longer than the window.
    (
        "no-expected-sequence",
        60,
        &[(Fault::SlowNats, 2, 6), (Fault::KillPublisher, 5, 3)],
        Kind::Duplicate,
    ),
    // As many transactions as there can be: the instance is killed with some of them open.
    (
        "event-outside-transaction",
        1_000,
        &[
            (Fault::KillInstance, 2, 0),
            (Fault::KillInstance, 4, 0),
            (Fault::KillInstance, 6, 0),
            (Fault::KillInstance, 8, 0),
        ],
        Kind::Half,
    ),
    // Saved, and killed before the answer: the client sends it again.
    (
        "no-idempotency",
        1_000,
        &[
            (Fault::KillInstance, 2, 0),
            (Fault::KillInstance, 4, 0),
            (Fault::KillInstance, 6, 0),
            (Fault::KillInstance, 8, 0),
        ],
        Kind::Repeated,
    ),
];
const CONVICTION_SECONDS: u64 = 11;

/// # Errors
/// When one is not convicted, or can't be tried.
pub(crate) async fn all(programs: &Programs) -> anyhow::Result<()> {
    let mut at_large = Vec::new();
    for sabotage in SABOTAGES {
        let name = sabotage.0;
        if is_convicted(programs, sabotage).await.context(name)? {
            println!("{name}: convicted");
        } else {
            println!("{name}: NOT CONVICTED");
            at_large.push(name);
        }
    }
    ensure!(
        at_large.is_empty(),
        "not convicted: {}",
        at_large.join(", ")
    );
    Ok(())
}

async fn is_convicted(
    programs: &Programs,
    (sabotage, rate, faults, kind): Sabotage,
) -> anyhow::Result<bool> {
    let aim = Aim {
        seed: 1,
        seconds: CONVICTION_SECONDS,
        rate,
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
    let mut experiment = programs.experiment(aim, Size::ONE, faults.collect())?;
    experiment.folder.push(sabotage);
    let variable = ("SABOTAGE".to_owned(), sabotage.to_owned());
    experiment.environment.push(variable);
    let report = experiment.run().await?;
    report.print_writes();
    report.print_verdict();
    Ok(report.counts.get(&kind).is_some_and(|count| *count > 0))
}
