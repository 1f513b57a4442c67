//! `bench`: each figure of the service beside its limit, which a minimal loop shows in the same round.
//!
//! `raw`, `raw_relay` and `raw_inbox` hold the limits, the others the figures, of which `curves` draws some; docs/benchmarks.md says what they mean.

mod backlog;
mod curves;
mod history;
mod http;
mod idle;
mod inbox;
mod lag;
mod load;
mod machine;
mod neighbours;
mod overload;
mod page;
mod partitions;
mod raw;
mod raw_inbox;
mod raw_relay;
mod reads;
mod servers;
mod simulation;
mod table;
mod writes;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::ensure;
use async_nats::jetstream;
use clap::{Parser, ValueEnum};
use mongodb::Database;
use testbed::target;

use crate::{
    history::Past,
    machine::Report,
    servers::{STREAM, Servers},
    table::{Row, Target, alone},
};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    /// The service's release build.
    #[arg(long, default_value = "target/release/tickets")]
    program: PathBuf,
    /// The folder for data and logs, which is emptied; by default `bench` in cargo's target directory.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Rounds of each figure, of which the medians are shown.
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 3)]
    rounds: usize,
    /// Only these figures; by default all but the curves, `history`, `live-page`, `partitions`, `simulation` and the `three-…`.
    #[arg(long, env = "BENCH_ONLY", value_enum, value_delimiter = ',')]
    only: Vec<Figure>,
    /// Events of a backlog, for the drains.
    #[arg(long, env = "BENCH_EVENTS", default_value_t = 100_000)]
    events: usize,
    /// Events of long ago, for `history`.
    #[arg(long, env = "BENCH_OLD_EVENTS", default_value_t = 2_000_000)]
    old_events: usize,
    /// Tickets of long ago, for `history`.
    #[arg(long, env = "BENCH_OLD_TICKETS", default_value_t = 1_000_000)]
    old_tickets: usize,
    /// Where the figures go, as JSON; from cargo's target directory on.
    #[arg(long, env = "BENCH_JSON", default_value = "bench.json")]
    json: PathBuf,
    /// Where the plots go, as SVG; by default `plots` in cargo's target directory.
    #[arg(long, env = "BENCH_PLOTS")]
    plots: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    Start,
    Creates32,
    Creates256,
    Create1,
    Overload,
    Neighbours,
    Hot,
    Lag,
    Drain,
    DrainFew,
    Poison,
    Get,
    Pages,
    Memory,
    Idle,
    Connections,
    Inbox,
    InboxFew,
    InboxPoison,
    InboxLag,
    InboxMemory,
    LoadCurve,
    DrainCurve,
    HistoryCurve,
    History,
    LivePage,
    Partitions,
    Simulation,
    ThreeCreates32,
    ThreeCreates256,
    ThreeDrain,
    ThreeLag,
}

impl Figure {
    /// How many members MongoDB and NATS have.
    fn nodes(self) -> usize {
        let three = [
            Self::ThreeCreates32,
            Self::ThreeCreates256,
            Self::ThreeDrain,
            Self::ThreeLag,
        ];
        if three.contains(&self) { 3 } else { 1 }
    }

    /// Whether it is measured where nothing is chosen.
    fn is_of_all(self) -> bool {
        let is_apart = matches!(
            self,
            Self::LoadCurve
                | Self::DrainCurve
                | Self::HistoryCurve
                | Self::History
                | Self::LivePage
                | Self::Partitions
                | Self::Simulation
        );
        self.nodes() == 1 && !is_apart
    }
}

/// What every figure needs.
pub(crate) struct Bench {
    servers: Servers,
    token: String,
    rounds: usize,
    events: usize,
    past: Past,
    /// The folder of the plots.
    plots: PathBuf,
}

impl Bench {
    /// An empty database with the service's indexes.
    async fn fresh(&self, name: &str, connections: usize) -> anyhow::Result<Database> {
        let database = self
            .servers
            .database(name, u32::try_from(connections)?)
            .await?;
        database.drop().await?;
        raw::prepare(&database).await?;
        Ok(database)
    }

    async fn fresh_stream(&self) -> anyhow::Result<jetstream::Context> {
        let jetstream = self.servers.jetstream().await?;
        drop(jetstream.delete_stream(STREAM).await);
        let subjects = vec!["ticket.>".to_owned()];
        let config = jetstream::stream::Config {
            name: STREAM.to_owned(),
            subjects,
            num_replicas: self.servers.nodes,
            ..Default::default()
        };
        jetstream.create_stream(config).await?;
        Ok(jetstream)
    }

    async fn measure(&self, figure: Figure) -> anyhow::Result<Vec<Row>> {
        match figure {
            Figure::Start => self.start().await,
            Figure::Creates32 | Figure::ThreeCreates32 => writes::creates(self, 32).await,
            Figure::Creates256 | Figure::ThreeCreates256 => writes::creates(self, 256).await,
            Figure::Create1 => writes::one_at_a_time(self).await,
            Figure::Overload => overload::overload(self).await,
            Figure::Neighbours => neighbours::neighbours(self).await,
            Figure::Hot => writes::hot_ticket(self).await,
            Figure::Lag | Figure::ThreeLag => lag::lag(self).await,
            Figure::Drain | Figure::ThreeDrain => {
                backlog::drain(self, self.events, self.events).await
            }
            Figure::DrainFew => backlog::drain(self, self.events, 100).await,
            Figure::Poison => backlog::poisoned(self, self.events).await,
            Figure::Get => reads::one(self).await,
            Figure::Pages => reads::pages(self, 1_000_000).await,
            Figure::Memory => backlog::memory(self, 1_000_000).await,
            Figure::Idle => idle::processor(self).await,
            Figure::Connections => idle::connections(self, 5_000).await,
            Figure::Inbox => inbox::applied(self, self.events / 10, self.events / 10).await,
            Figure::InboxFew => inbox::applied(self, self.events / 10, 100).await,
            Figure::InboxPoison => inbox::poisoned(self, self.events / 40).await,
            Figure::InboxLag => inbox::lag(self).await,
            Figure::InboxMemory => inbox::memory(self, self.events / 5).await,
            Figure::History => history::history(self, &self.past).await,
            Figure::LivePage => page::live(self, 1_000_000).await,
            Figure::Simulation => Ok(simulation::simulate()),
            Figure::Partitions => partitions::partitions(self, self.events).await,
            Figure::LoadCurve => curves::load(self).await,
            Figure::DrainCurve => curves::drain(self).await,
            Figure::HistoryCurve => curves::history(self).await,
        }
    }

    /// From the start of the process to the first 200 of `/health/ready`.
    async fn start(&self) -> anyhow::Result<Vec<Row>> {
        self.fresh("service", 4).await?;
        let mut took_ms = vec![];
        for _ in 0..self.rounds.max(5) {
            let (service, took) = self.servers.service("service").await?;
            took_ms.push(took.as_secs_f64() * 1000.0);
            service.stop()?;
        }
        Ok(vec![alone(
            "start to ready",
            "ms",
            took_ms,
            Some(Target::AtMost(300.0)),
        )])
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    ensure!(
        cli.program.exists(),
        "{} is not there: make bench builds it",
        cli.program.display()
    );
    let folder = cli.folder.unwrap_or_else(|| target().join("bench"));
    let folder = std::path::absolute(folder)?;
    let program = fs::canonicalize(&cli.program)?;
    let plots = cli.plots.unwrap_or_else(|| target().join("plots"));
    let of_all = || Figure::value_variants().iter().copied();
    let chosen: Vec<Figure> = if cli.only.is_empty() {
        of_all().filter(|figure| figure.is_of_all()).collect()
    } else {
        cli.only
    };
    let mut report = Report::of_this_machine();
    let mut number = 0;
    for nodes in [1, 3] {
        let figures = chosen.iter().filter(|figure| figure.nodes() == nodes);
        let figures: Vec<Figure> = figures.copied().collect();
        if figures.is_empty() {
            continue;
        }
        let servers = Servers::start(program.clone(), folder.clone(), nodes).await?;
        let bench = Bench {
            token: servers.token("bench")?,
            servers,
            rounds: cli.rounds,
            plots: plots.clone(),
            events: cli.events,
            past: Past {
                events: cli.old_events,
                tickets: cli.old_tickets,
            },
        };
        println!("{}, {nodes} of each server", report.head(&bench).await?);
        table::print_head();
        for figure in figures {
            number += 1;
            eprintln!("bench: {figure:?}, {number} of {}", chosen.len());
            for row in bench.measure(figure).await? {
                row.print();
                report.add(figure, nodes, row);
            }
        }
    }
    let json = target().join(cli.json);
    fs::write(&json, serde_json::to_vec_pretty(&report)?)?;
    println!("\nthe figures are in {}", json.display());
    Ok(if report.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
