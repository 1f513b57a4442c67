//! `chaos`: runs the service's binary as real processes against real servers, does its worst to all of them under
//! load, and checks that every promise of the outbox was kept. See docs/guarantees.md.
//!
//! Read `run` first, then `schedule`, `inject` and `load`, which make the history, and `checker`, which judges it.

mod checker;
mod history;
mod inject;
mod load;
mod observe;
mod process;
mod proxy;
mod report;
mod run;
mod schedule;
mod servers;
mod world;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};

use crate::{
    checker::Kind,
    run::Experiment,
    schedule::{Fault, Planned, schedule},
    world::Size,
};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Faults and load, then the verdict: exit code 1 when a promise was broken.
    Run(Run),
    /// Sabotaged builds of the service, each of which must be convicted: exit code 1 when one is not.
    Convict(Programs),
}

#[derive(Args)]
struct Programs {
    /// The service's binary; for `convict`, one built with the feature `sabotage`.
    #[arg(long)]
    program: PathBuf,
    /// The folder of `mongod` and `nats-server`.
    #[arg(long, default_value = ".services/bin")]
    servers: PathBuf,
    /// The folder for data and logs; it is emptied.
    #[arg(long, default_value = "target/chaos")]
    folder: PathBuf,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    programs: Programs,
    /// Makes the schedule; the same seed makes the same one.
    #[arg(long, env = "CHAOS_SEED", default_value_t = fastrand::u64(..1_000_000))]
    seed: u64,
    /// Seconds of load.
    #[arg(long, env = "CHAOS_SECONDS", default_value_t = 120)]
    seconds: u64,
    /// Writes a second.
    #[arg(long, env = "CHAOS_RATE", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// Mean pause between the beginnings of two faults, in seconds.
    #[arg(long, env = "CHAOS_GAP", default_value_t = 5.0)]
    gap: f64,
    /// One instance, one MongoDB and one NATS server instead of three of each.
    #[arg(long, env = "CHAOS_SMALL", value_parser = FalseyValueParser::new())]
    small: bool,
    /// Only these faults.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Where the report goes, as JSON.
    #[arg(long, default_value = "target/chaos.json")]
    json: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(run) => run_once(run).await,
        Command::Convict(programs) => convict(programs).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_once(run: Run) -> anyhow::Result<bool> {
    let of_each = if run.small { 1 } else { 3 };
    let faults = match run.faults.as_slice() {
        [] => Fault::value_variants().to_vec(),
        chosen => chosen.to_vec(),
    };
    let experiment = Experiment {
        seed: run.seed,
        seconds: run.seconds,
        rate: run.rate,
        size: Size {
            instances: of_each,
            mongo: of_each,
            nats: of_each,
        },
        faults: schedule(run.seed, run.seconds, run.gap, &faults),
        program: absolute(&run.programs.program)?,
        servers: absolute(&run.programs.servers)?,
        folder: std::path::absolute(&run.programs.folder)?,
        environment: Vec::new(),
    };
    let report = experiment.run().await?;
    report.print();
    fs::write(&run.json, serde_json::to_vec_pretty(&report)?)?;
    println!(
        "\nthe report is in {}, the logs are in {}",
        run.json.display(),
        run.programs.folder.display()
    );
    Ok(report.is_good())
}

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

async fn convict(programs: Programs) -> anyhow::Result<bool> {
    let mut all_convicted = true;
    for (sabotage, rate, faults, kind) in SABOTAGES {
        let planned = |&(fault, at, lasts): &(Fault, u64, u64)| Planned {
            at: Duration::from_secs(at),
            lasts: Duration::from_secs(lasts),
            fault,
            target: 0,
            is_of_one: false,
        };
        let experiment = Experiment {
            seed: 1,
            seconds: CONVICTION_SECONDS,
            rate,
            size: Size {
                instances: 1,
                mongo: 1,
                nats: 1,
            },
            faults: faults.iter().map(planned).collect(),
            program: absolute(&programs.program)?,
            servers: absolute(&programs.servers)?,
            folder: std::path::absolute(&programs.folder)?.join(sabotage),
            environment: vec![("SABOTAGE".to_owned(), sabotage.to_owned())],
        };
        let report = experiment
            .run()
            .await
            .with_context(|| sabotage.to_owned())?;
        report.print();
        let convicted = report.counts.get(&kind).is_some_and(|count| *count > 0);
        println!(
            "{sabotage}: {}",
            if convicted {
                "convicted"
            } else {
                "NOT CONVICTED"
            }
        );
        all_convicted &= convicted;
    }
    Ok(all_convicted)
}

fn absolute(path: &PathBuf) -> anyhow::Result<PathBuf> {
    fs::canonicalize(path).with_context(|| format!("{} is not there", path.display()))
}
