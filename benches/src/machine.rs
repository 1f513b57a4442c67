//! What was measured, when and where.

use std::{fs, thread::available_parallelism};

use bson::{DateTime, doc};
use clap::ValueEnum;
use serde::Serialize;

use crate::{Bench, Figure, table::Row};

/// All that a run has measured: what plots and pages are made of.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    began: String,
    cores: usize,
    processor: String,
    memory_gib: f64,
    mongod: String,
    nats_server: String,
    rows: Vec<OfFigure>,
}

#[derive(Serialize)]
struct OfFigure {
    /// As `BENCH_ONLY` names it.
    figure: String,
    /// Of MongoDB's replica set and of NATS' cluster.
    nodes: usize,
    #[serde(flatten)]
    row: Row,
}

impl Report {
    pub(crate) fn of_this_machine() -> Self {
        let value = |path, name: &str| {
            let lines = fs::read_to_string(path).unwrap_or_default();
            let line = lines.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let kib = value("/proc/meminfo", "MemTotal");
        let kib: f64 = kib.trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            began: DateTime::now().try_to_rfc3339_string().unwrap_or_default(),
            cores: available_parallelism().map_or(0, usize::from),
            processor: value("/proc/cpuinfo", "model name"),
            memory_gib: kib / 1024.0 / 1024.0,
            ..Self::default()
        }
    }

    /// One line of it, once the servers are known.
    pub(crate) async fn head(&mut self, bench: &Bench) -> anyhow::Result<String> {
        let database = bench.servers.database("admin", 1).await?;
        let built = database.run_command(doc! { "buildInfo": 1 }).await?;
        built.get_str("version")?.clone_into(&mut self.mongod);
        self.nats_server = bench.servers.nats().await?.server_info().version;
        let (cores, gib, rounds) = (self.cores, self.memory_gib, bench.rounds);
        Ok(format!(
            "{}, {cores} cores ({}), {gib:.0} GiB, mongod {}, nats-server {}, {rounds} rounds",
            self.began, self.processor, self.mongod, self.nats_server
        ))
    }

    pub(crate) fn add(&mut self, figure: Figure, nodes: usize, row: Row) {
        let name = figure.to_possible_value();
        let figure = name.map_or_else(String::new, |name| name.get_name().to_owned());
        self.rows.push(OfFigure { figure, nodes, row });
    }

    pub(crate) fn is_met(&self) -> bool {
        self.rows.iter().all(|it| it.row.is_met())
    }
}
