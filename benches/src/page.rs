//! What the live page costs the database while much is unsent, beside a scrape of the metrics alone.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

use crate::{
    Bench,
    backlog::fill,
    http::Connection,
    idle::SETTLES,
    servers::{Place, Service},
    table::{Row, Target, compared},
};

/// As many as may look at once.
const VIEWERS: usize = 16;
/// As many as the page shows.
const PARKED: i64 = 50;
/// A cost is that of so many readings of the figures: a time would hold more or fewer of them by chance.
const READINGS: usize = 3;
const SCRAPES_EVERY: Duration = Duration::from_millis(500);
const READING_DEADLINE: Duration = Duration::from_secs(90);
/// When the figures were read last.
const READ_AT: &str = "outbox_status_read_timestamp_seconds ";

/// What the database did.
#[derive(Clone, Copy)]
struct Cost {
    /// In a minute: the lease and the rest ask by the clock.
    commands: f64,
    /// Keys of indexes, and documents.
    looked_at: f64,
    cpu_ms: f64,
}

/// With nothing parked, and with as many parked as the page shows.
pub(crate) async fn live(bench: &Bench, events: usize) -> anyhow::Result<Vec<Row>> {
    let database = bench.fresh("service", 4).await?;
    bench.servers.stop_nats().await;
    fill(&database, events, events, "NO").await?;
    let (service, _) = bench.servers.instance(Place::of("service")).await?;
    sleep(SETTLES).await;
    let mut rows = Vec::new();
    for parked in [0, PARKED] {
        if parked > 0 {
            park(&database, parked).await?;
        }
        let mut costs = vec![];
        for _ in 0..bench.rounds {
            let without = cost(&database, &service).await?;
            costs.push((while_looked_at(&database, &service).await?, without));
        }
        rows.extend(rows_of(&costs, events, parked));
    }
    service.stop()?;
    bench.servers.start_nats().await;
    Ok(rows)
}

fn rows_of(costs: &[(Cost, Cost)], events: usize, parked: i64) -> [Row; 3] {
    let each = |of: fn(&Cost) -> f64| -> Vec<(f64, f64)> {
        costs
            .iter()
            .map(|(with, not)| (of(with), of(not)))
            .collect()
    };
    let [commands, looked_at, cpu_ms] = [
        each(|it| it.commands),
        each(|it| it.looked_at),
        each(|it| it.cpu_ms),
    ];
    let name = format!("{VIEWERS} look, {events} unsent, {parked} parked: commands a minute");
    // Each that is parked is looked up by itself.
    let target = (parked == 0).then_some(Target::AtMost(1.1));
    [
        compared(name, "", &commands, target),
        compared(
            "  keys and documents looked at",
            "",
            &looked_at,
            Some(Target::AtMost(1.01)),
        ),
        compared(
            "  processor time of MongoDB",
            "ms",
            &cpu_ms,
            Some(Target::AtMost(1.2)),
        ),
    ]
}

/// As the publisher does, so that the page asks for the list of them.
async fn park(database: &Database, count: i64) -> anyhow::Result<()> {
    let fields = doc! { "_id": 1, "key": 1, "version": 1 };
    let events = database.collection::<Document>("events");
    let events = events.find(doc! {}).projection(fields).limit(count);
    let mut notes: Vec<Document> = events.await?.try_collect().await?;
    for note in &mut notes {
        note.extend(doc! { "reason": "a bad import", "at": DateTime::now(), "attempts": 1_i64 });
    }
    let parked = database.collection::<Document>("parked");
    parked.insert_many(notes).await?;
    Ok(())
}

async fn while_looked_at(database: &Database, service: &Service) -> anyhow::Result<Cost> {
    let mut viewers = JoinSet::new();
    for _ in 0..VIEWERS {
        viewers.spawn(view(service.admin.clone()));
    }
    // What they ask for at the beginning.
    sleep(SETTLES).await;
    tokio::select! {
        cost = cost(database, service) => cost,
        Some(ended) = viewers.join_next() => Err(ended?.err().unwrap_or(anyhow!("a viewer was sent away"))),
    }
}

async fn cost(database: &Database, service: &Service) -> anyhow::Result<Cost> {
    let mut metrics = Connection::open(&service.admin).await?;
    has_read(&mut metrics).await?;
    let (before, began) = (costs_so_far(database).await?, Instant::now());
    for _ in 0..READINGS {
        has_read(&mut metrics).await?;
    }
    let after = costs_so_far(database).await?;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    Ok(Cost {
        commands: (after.commands - before.commands) / minutes,
        looked_at: after.looked_at - before.looked_at,
        cpu_ms: after.cpu_ms - before.cpu_ms,
    })
}

/// Scrapes until the figures have been read anew.
async fn has_read(metrics: &mut Connection) -> anyhow::Result<()> {
    let (first, began) = (read_at(metrics).await?, Instant::now());
    while read_at(metrics).await? == first {
        ensure!(began.elapsed() < READING_DEADLINE, "no figures are read");
        sleep(SCRAPES_EVERY).await;
    }
    Ok(())
}

async fn read_at(metrics: &mut Connection) -> anyhow::Result<String> {
    let answer = metrics.send("GET", "/metrics", "", "").await?;
    let text = String::from_utf8(answer.body)?;
    let at = text.lines().find_map(|line| line.strip_prefix(READ_AT));
    Ok(at.context("there is no time of a reading")?.to_owned())
}

async fn costs_so_far(database: &Database) -> anyhow::Result<Cost> {
    let status = database.run_command(doc! { "serverStatus": 1 }).await?;
    let sum = |part: &Document, names: &[&str]| -> anyhow::Result<f64> {
        let number = |name: &&str| {
            let number = part.get(name)?;
            number.as_i64().or(number.as_i32().map(i64::from))
        };
        let numbers: Option<i64> = names.iter().map(number).sum();
        Ok(numbers.with_context(|| format!("{names:?} are not all told"))? as f64)
    };
    let kinds = ["insert", "query", "update", "delete", "getmore", "command"];
    let times = ["user_time_us", "system_time_us"];
    let executor = status
        .get_document("metrics")?
        .get_document("queryExecutor")?;
    Ok(Cost {
        commands: sum(status.get_document("opcounters")?, &kinds)?,
        looked_at: sum(executor, &["scanned", "scannedObjects"])?,
        cpu_ms: sum(status.get_document("extra_info")?, &times)? / 1_000.0,
    })
}

/// Looks as the page's script does: where something is aside, it asks for the list of that after each reading of the figures.
async fn view(admin: String) -> anyhow::Result<()> {
    let mut live = TcpStream::connect(&admin).await?;
    let request = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    live.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(live).lines();
    let mut last = String::new();
    while let Some(line) = lines.next_line().await? {
        let Some((_, read)) = line.split_once("\"readMs\":") else {
            continue;
        };
        let read = read.split(',').next().unwrap_or_default();
        let is_aside = !line.contains("\"parked\":0");
        if is_aside && read != last {
            // One that is kept is closed between two readings.
            let mut list = Connection::open(&admin).await?;
            let status = list.send("GET", "/aside", "", "").await?.status;
            ensure!(status == 200, "/aside was answered {status}");
        }
        read.clone_into(&mut last);
    }
    Ok(())
}
