//! Runs that can't prove anything, because the harness is broken on purpose: each must fail, and say why.

use std::time::Duration;

use anyhow::{bail, ensure};

use crate::{Programs, fault::Fault, floors::Aim, schedule::Planned, world::Size};

const SECONDS: u64 = 5;

/// What is wrong: a variable of the service that does not fit the harness, or a fault that can have no effect.
enum Wrong {
    Variable(&'static str, &'static str),
    Fault(Fault),
}

/// A broken harness, and words of the sentence with which the run fails.
const BROKEN: [(&str, Wrong, &str); 5] = [
    (
        "the service has another key",
        Wrong::Variable("JWT_KEY", "not-the-one-that-signs-the-clients-tokens"),
        "the first write, before any fault, was answered 401, not 201",
    ),
    (
        "the service listens on another port",
        Wrong::Variable("LISTEN_ADDR", "127.0.0.1:0"),
        "is ready: error sending request",
    ),
    (
        "the service reaches no NATS",
        Wrong::Variable("NATS_URL", "nats://127.0.0.1:9"),
        "the event of the first write, before any fault, is in stream TICKETS",
    ),
    (
        "the service publishes to another stream",
        Wrong::Variable("NATS_STREAM", "ANOTHER"),
        "the event of the first write, before any fault, is in stream TICKETS",
    ),
    (
        "no fault has an effect",
        Wrong::Fault(Fault::StepDownStream),
        "faults that took effect: 0 of 1",
    ),
];

/// # Errors
/// When one passes, or fails for another reason.
pub(crate) async fn all(programs: &Programs) -> anyhow::Result<()> {
    let mut believed = Vec::new();
    for (name, wrong, words) in BROKEN {
        match fails(programs, &wrong).await {
            Err(error) if format!("{error:#}").contains(words) => println!("{name}: {error:#}"),
            other => {
                println!("{name}: NOT NOTICED: {other:?}");
                believed.push(name);
            }
        }
    }
    ensure!(believed.is_empty(), "not noticed: {}", believed.join(", "));
    Ok(())
}

async fn fails(programs: &Programs, wrong: &Wrong) -> anyhow::Result<()> {
    let faults = match wrong {
        Wrong::Fault(fault) => vec![Planned {
            at: Duration::from_secs(1),
            lasts: Duration::from_secs(1),
            fault: *fault,
            target: 0,
            is_of_one: false,
        }],
        Wrong::Variable(..) => Vec::new(),
    };
    let aim = Aim {
        seed: 1,
        seconds: SECONDS,
        rate: 20,
        faults: faults.len(),
        includes_nats: false,
    };
    let mut experiment = programs.experiment(aim, Size::ONE, faults)?;
    experiment.folder.push("broken");
    if let Wrong::Variable(name, value) = wrong {
        let variable = ((*name).to_owned(), (*value).to_owned());
        experiment.environment.push(variable);
    }
    match experiment.run().await?.failure() {
        None => Ok(()),
        Some(why) => bail!(why),
    }
}
