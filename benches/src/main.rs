//! `bench`: each figure of the service beside its limit, which a minimal loop shows in the same round.
//!
//! `raw` and `raw_inbox` hold the limits, `writes`, `reads`, `backlog` and `inbox` the figures, `curves` those that are drawn; docs/benchmarks.md says what they mean.

mod backlog;
mod curves;
mod http;
mod inbox;
mod load;
mod overload;
mod raw;
mod raw_inbox;
mod reads;
mod servers;
mod table;
mod writes;

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::ensure;
use async_nats::jetstream;
use clap::{Parser, ValueEnum};
use mongodb::Database;
use testbed::target;

use crate::{
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
    /// Only these figures.
    #[arg(long, env = "BENCH_ONLY", value_enum, value_delimiter = ',')]
    only: Vec<Figure>,
    /// Where the figures go, as JSON; by default `bench.json` in cargo's target directory.
    #[arg(long)]
    json: Option<PathBuf>,
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
    Hot,
    Lag,
    Drain,
    DrainFew,
    Poison,
    Get,
    Pages,
    Memory,
    Growth,
    Inbox,
    InboxFew,
    InboxPoison,
    InboxLag,
    InboxMemory,
    LoadCurve,
    DrainCurve,
    HistoryCurve,
}

/// What every figure needs.
pub(crate) struct Bench {
    servers: Servers,
    token: String,
    rounds: usize,
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
            ..Default::default()
        };
        jetstream.create_stream(config).await?;
        Ok(jetstream)
    }

    /// One publication from request to acknowledgement, when nothing else is on its way.
    async fn round_trip(&self) -> anyhow::Result<Duration> {
        const TIMES: u32 = 2_000;
        let jetstream = self.fresh_stream().await?;
        let began = Instant::now();
        for _ in 0..TIMES {
            jetstream
                .publish("ticket.created.round-trip", "{}".into())
                .await?
                .await?;
        }
        Ok(began.elapsed() / TIMES)
    }

    async fn measure(&self, figure: Figure) -> anyhow::Result<Vec<Row>> {
        match figure {
            Figure::Start => self.start().await,
            Figure::Creates32 => writes::creates(self, 32).await,
            Figure::Creates256 => writes::creates(self, 256).await,
            Figure::Create1 => writes::one_at_a_time(self).await,
            Figure::Overload => overload::overload(self).await,
            Figure::Hot => writes::hot_ticket(self).await,
            Figure::Lag => writes::lag(self).await,
            Figure::Drain => backlog::drain(self, 100_000, 100_000).await,
            Figure::DrainFew => backlog::drain(self, 100_000, 100).await,
            Figure::Poison => backlog::poisoned(self, 100_000).await,
            Figure::Get => reads::one(self).await,
            Figure::Pages => reads::pages(self, 1_000_000).await,
            Figure::Memory => backlog::memory(self, 1_000_000).await,
            Figure::Growth => backlog::growth(self, 10_000, 5_000_000).await,
            Figure::Inbox => inbox::applied(self, 100_000, 100_000).await,
            Figure::InboxFew => inbox::applied(self, 100_000, 100).await,
            Figure::InboxPoison => inbox::poisoned(self, 10_000).await,
            Figure::InboxLag => inbox::lag(self).await,
            Figure::InboxMemory => inbox::memory(self, 100_000).await,
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
    let servers = Servers::start(fs::canonicalize(&cli.program)?, folder).await?;
    let token = servers.token()?;
    let bench = Bench {
        servers,
        token,
        rounds: cli.rounds,
        plots: cli.plots.unwrap_or_else(|| target().join("plots")),
    };
    let figures = match cli.only.as_slice() {
        [] => Figure::value_variants(),
        chosen => chosen,
    };
    let mut rows = Vec::new();
    table::print_head();
    for (number, figure) in figures.iter().enumerate() {
        eprintln!("bench: {figure:?}, {} of {}", number + 1, figures.len());
        for row in bench.measure(*figure).await? {
            row.print();
            rows.push(row);
        }
    }
    let json = cli.json.unwrap_or_else(|| target().join("bench.json"));
    fs::write(&json, serde_json::to_vec_pretty(&rows)?)?;
    println!("\nthe figures are in {}", json.display());
    let missed = rows.iter().filter(|row| !row.is_met()).count();
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
