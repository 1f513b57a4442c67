//! What the past costs: the same figures over a database with years of tickets and events in it, and over an empty one.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::doc;
use mongodb::Database;

use crate::{
    Bench,
    backlog::{fill, service_drain},
    load::{Load, requests},
    reads,
    servers::Service,
    table::{Row, Target, compared},
    writes::{LASTS, create, drained},
};

const CONNECTIONS: usize = 32;
const PAGES: usize = 100;
const LIST: &str = "/api/tickets";
/// Of the drain.
const BACKLOG: usize = 50_000;

/// How much has been before.
pub(crate) struct Past {
    pub(crate) events: usize,
    pub(crate) tickets: usize,
}

/// Of one database in one round.
struct Figures {
    creates: f64,
    lists: f64,
    drain: f64,
    drain_cpu_us: f64,
    walk_ms: f64,
}

pub(crate) async fn history(bench: &Bench, past: &Past) -> anyhow::Result<Vec<Row>> {
    let old = bench.fresh("old", 4).await?;
    reads::fill(&old, past.tickets).await?;
    fill(&old, past.events, past.events, "YES").await?;
    let mut rounds = vec![];
    for _ in 0..bench.rounds {
        let new = bench.fresh("new", 4).await?;
        // As many as the walk needs.
        reads::fill(&new, PAGES * 50 + 1).await?;
        let of_new = figures(bench, "new", &new).await?;
        rounds.push((figures(bench, "old", &old).await?, of_new));
    }
    let row = |name: &str, unit, target, of: fn(&Figures) -> f64| {
        let pairs: Vec<_> = rounds.iter().map(|(old, new)| (of(old), of(new))).collect();
        compared(name, unit, &pairs, target)
    };
    let (least, most) = (
        Some(Target::AtLeast(0.95)),
        Some(Target::AtMost(1.0 / 0.95)),
    );
    let name = format!(
        "creates at {CONNECTIONS}, {} old events and {} tickets",
        past.events, past.tickets
    );
    Ok(vec![
        row(&name, "/s", least, |it| it.creates),
        row("  lists of 50", "/s", least, |it| it.lists),
        row(&format!("  backlog of {BACKLOG}"), "/s", least, |it| {
            it.drain
        }),
        row("  processor time of an event of it", "µs", most, |it| {
            it.drain_cpu_us
        }),
        row(&format!("  walk of {PAGES} pages"), "ms", most, |it| {
            it.walk_ms
        }),
    ])
}

async fn figures(bench: &Bench, name: &str, database: &Database) -> anyhow::Result<Figures> {
    let (service, _) = bench.servers.service(name).await?;
    // What was written is on the disk before anything is measured.
    let admin = database.client().database("admin");
    admin.run_command(doc! { "fsync": 1 }).await?;
    let load = async |lasts, method, request: fn() -> (String, String)| -> anyhow::Result<Load> {
        requests(&service, CONNECTIONS, lasts, method, &bench.token, request).await
    };
    let creates = load(LASTS, ("POST", 201), create).await?.per_second;
    drained(database).await?;
    let list = || (LIST.to_owned(), String::new());
    let lists = load(LASTS / 2, ("GET", 200), list).await?.per_second;
    let walk_ms = walk(&service).await?.as_secs_f64() * 1000.0;
    service.stop()?;
    fill(database, BACKLOG, BACKLOG, "NO").await?;
    admin.run_command(doc! { "fsync": 1 }).await?;
    let (drain, drain_cpu_us) = service_drain(bench, name, database, BACKLOG).await?;
    Ok(Figures {
        creates,
        lists,
        drain,
        drain_cpu_us,
        walk_ms,
    })
}

/// The median of three walks.
async fn walk(service: &Service) -> anyhow::Result<Duration> {
    let mut connection = service.connect().await?;
    let mut took = vec![];
    for _ in 0..3 {
        let (mut page, began) = (format!("{LIST}?limit=50"), Instant::now());
        for _ in 0..PAGES {
            let answer = connection.send("GET", &page, "", "").await?;
            ensure!(
                answer.status == 200,
                "{page} was answered {}",
                answer.status
            );
            page = answer.next_page().context("there are more pages")?;
        }
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took[1])
}
