//! `chaos`: runs the service's binary as real processes against real servers, does its worst to all of them under
//! load, and checks that every promise of the outbox was kept. See docs/guarantees.md.
//!
//! Read `run` first, then `schedule`, `inject` and `load`, which make the history, and `checker`, which judges it.
//! Of the service itself only `domain` knows anything.

mod availability;
mod broken;
mod checker;
mod client;
mod clock;
mod convict;
mod domain;
mod fault;
mod first_write;
mod floors;
mod health;
mod history;
mod inject;
mod live;
mod load;
mod observe;
mod orders;
mod picture;
mod power;
mod report;
mod run;
mod schedule;
mod story;
mod timeline;
mod usage;
mod wiring;
mod world;

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};
use testbed::target;

use crate::{
    fault::Fault,
    floors::Aim,
    run::Experiment,
    schedule::{Plan, Planned, schedule},
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
    /// Faults and load, then the verdict: exit code 1 when a promise was broken, or too little happened to show anything.
    Run(Run),
    /// A build of the service with a defect of `chaos/defects/`: exit code 1 when it is not convicted.
    Convict {
        defect: String,
        #[command(flatten)]
        programs: Programs,
    },
    /// What servers lose of what they acknowledged when their power fails, and what `outbox replay` brings back. Needs root.
    PowerLoss {
        /// Only those whose name holds this.
        #[arg(long, default_value = "")]
        only: String,
        /// Seconds of load before.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[command(flatten)]
        programs: Programs,
    },
    /// Runs that can't prove anything, each of which must fail and say why: exit code 1 when one does not.
    Broken(Programs),
}

#[derive(Args)]
struct Programs {
    /// The service's binary.
    #[arg(long)]
    program: PathBuf,
    /// The binary of a service whose orders the clients place and cancel there; without one the harness tells of orders itself.
    #[arg(long)]
    orders: Option<PathBuf>,
    /// The folder for data and logs, which is emptied; by default `chaos` in cargo's target directory.
    #[arg(long)]
    folder: Option<PathBuf>,
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
    /// Operations a second.
    #[arg(long, env = "CHAOS_RATE", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// Mean pause between the beginnings of two faults, in seconds.
    #[arg(long, env = "CHAOS_GAP", default_value_t = 5.0)]
    gap: f64,
    /// One instance, one MongoDB and one NATS server instead of three of each; two instances of each service where there are two.
    #[arg(long, env = "CHAOS_SMALL", value_parser = FalseyValueParser::new())]
    small: bool,
    /// Only these faults.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Where the report goes, as JSON, and beside it as a page to look at; by default `chaos.json` in cargo's target directory.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => run_once(run).await,
        Command::Convict { defect, programs } => convict::convict(&defect, &programs).await,
        Command::PowerLoss {
            only,
            seconds,
            programs,
        } => power::measure(&only, seconds, &programs).await,
        Command::Broken(programs) => broken::all(&programs).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_once(run: Run) -> anyhow::Result<()> {
    let size = if run.small { Size::ONE } else { Size::THREE };
    let size = match run.programs.orders {
        Some(_) => size.of_the_loop(),
        None => size,
    };
    let chosen = match run.faults.as_slice() {
        [] => Fault::value_variants(),
        chosen => chosen,
    };
    let is_possible = |fault: &Fault| {
        let impossible = fault.impossible_here();
        if let Some(why) = &impossible {
            println!("{fault} is impossible here: {why}");
        }
        impossible.is_none() && (!run.small || fault.is_possible_with_one())
    };
    let chosen: Vec<Fault> = chosen.iter().copied().filter(is_possible).collect();
    let faults = schedule(&Plan {
        seed: run.seed,
        seconds: run.seconds,
        gap: run.gap,
        faults: &chosen,
        is_spaced: run.small,
    });
    let aim = Aim {
        seed: run.seed,
        seconds: run.seconds,
        rate: run.rate,
        faults: faults.len(),
        includes_nats: chosen.iter().any(|fault| fault.is_of_nats()),
    };
    let mut experiment = run.programs.experiment(aim, size, faults)?;
    experiment.command = again(&run);
    let report = experiment.run().await?;
    report.print_writes();
    report.print_usage();
    report.print_floors();
    report.print_verdict();
    let json = run.json.unwrap_or_else(|| target().join("chaos.json"));
    fs::write(&json, serde_json::to_vec_pretty(&report)?)?;
    let page = json.with_extension("html");
    fs::write(&page, picture::page(&report, &experiment.command)?)?;
    let (json, page) = (json.display(), page.display());
    let logs = experiment.folder.display();
    println!("\nthe report is in {json}, to look at in {page}, the logs are in {logs}");
    match report.failure() {
        None => Ok(()),
        Some(why) => {
            let folder = experiment.failure_folder();
            bail!("{why}; what shows it is in {}", folder.display())
        }
    }
}

/// The command that repeats a run.
fn again(run: &Run) -> String {
    let Run {
        seed,
        seconds,
        rate,
        gap,
        ..
    } = run;
    let chaos = env::args().next().unwrap_or_else(|| "chaos".to_owned());
    let program = run.programs.program.display();
    let mut command = format!(
        "{chaos} run --program {program} --seed {seed} --seconds {seconds} --rate {rate} --gap {gap}"
    );
    if let Some(orders) = &run.programs.orders {
        command += &format!(" --orders {}", orders.display());
    }
    if run.small {
        command += " --small";
    }
    if !run.faults.is_empty() {
        let faults: Vec<String> = run.faults.iter().map(ToString::to_string).collect();
        command += &format!(" --faults {}", faults.join(","));
    }
    command
}

impl Programs {
    fn experiment(&self, aim: Aim, size: Size, faults: Vec<Planned>) -> anyhow::Result<Experiment> {
        let absolute = |path: &PathBuf| {
            fs::canonicalize(path).with_context(|| format!("{} is not there", path.display()))
        };
        let folder = self.folder.clone();
        let folder = folder.unwrap_or_else(|| target().join("chaos"));
        Ok(Experiment {
            aim,
            size,
            faults,
            program: absolute(&self.program)?,
            orders: self.orders.as_ref().map(absolute).transpose()?,
            folder: std::path::absolute(folder)?,
            environment: Vec::new(),
            command: String::new(),
        })
    }
}
