//! What a read costs: one ticket, and a page however far back.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::{DateTime, Document, oid::ObjectId};
use mongodb::Database;

use crate::{
    Bench,
    load::{percentile, requests},
    raw,
    table::{Row, Target, compared},
};

const LASTS: Duration = Duration::from_secs(5);
const BATCH: usize = 10_000;

pub(crate) async fn fill(database: &Database, tickets: usize) -> anyhow::Result<Vec<ObjectId>> {
    let collection = database.collection::<Document>("tickets");
    let ids: Vec<ObjectId> = (0..tickets).map(|_| ObjectId::new()).collect();
    let began = DateTime::now().timestamp_millis() - i64::try_from(tickets)?;
    for (number, batch) in ids.chunks(BATCH).enumerate() {
        let of = |(at, id): (usize, &ObjectId)| {
            let (mut ticket, _) = raw::documents(*id, 0, "NO");
            let ms = i64::try_from(number * BATCH + at).unwrap_or_default();
            ticket.insert("createdAt", DateTime::from_millis(began + ms));
            ticket
        };
        collection
            .insert_many(batch.iter().enumerate().map(of))
            .ordered(false)
            .await?;
    }
    Ok(ids)
}

/// `GET /api/tickets/{id}` beside `find_one`.
pub(crate) async fn one(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    const READERS: usize = 64;
    let database = bench.fresh("service", READERS).await?;
    let ids: &'static [ObjectId] = fill(&database, 100_000).await?.leak();
    let mut per_second = vec![];
    for _ in 0..bench.rounds {
        let limit = raw::find_ones(&database, ids, READERS, LASTS).await?;
        let (service, _) = bench.servers.service("service").await?;
        let get = || {
            (
                format!(
                    "/api/tickets/{}",
                    ids[fastrand::usize(..ids.len())].to_hex()
                ),
                String::new(),
            )
        };
        let load = requests(&service, READERS, LASTS, ("GET", 200), &bench.token, get).await?;
        per_second.push((load.per_second, limit.per_second));
        service.stop()?;
    }
    Ok(vec![compared(
        "GET of one ticket, 64 connections",
        "/s",
        &per_second,
        Some(Target::AtLeast(0.75)),
    )])
}

/// The thousandth page beside the first.
pub(crate) async fn pages(bench: &Bench, tickets: usize) -> anyhow::Result<Vec<Row>> {
    const PAGES: usize = 1_000;
    const READS: usize = 500;
    let database = bench.fresh("service", 4).await?;
    fill(&database, tickets).await?;
    let (service, _) = bench.servers.service("service").await?;
    let mut connection = service.connect().await?;
    let first = "/api/tickets?limit=50".to_owned();
    let mut last = first.clone();
    for _ in 1..PAGES {
        let answer = connection.send("GET", &last, "", "").await?;
        ensure!(
            answer.status == 200,
            "a page was answered {}",
            answer.status
        );
        last = answer.next_page().context("no next page")?;
    }
    let mut p50_ms = vec![];
    for _ in 0..bench.rounds {
        let mut took_ms = [vec![], vec![]];
        for _ in 0..READS {
            for (path, took_ms) in [&last, &first].into_iter().zip(&mut took_ms) {
                let one = Instant::now();
                connection.send("GET", path, "", "").await?;
                took_ms.push(one.elapsed().as_secs_f64() * 1000.0);
            }
        }
        let [last, first] = took_ms.map(|mut took_ms| {
            took_ms.sort_by(f64::total_cmp);
            percentile(&took_ms, 50)
        });
        p50_ms.push((last, first));
    }
    service.stop()?;
    let name = format!("page 1,000 of {tickets} tickets, limit: page 1");
    Ok(vec![compared(
        name,
        "ms",
        &p50_ms,
        Some(Target::AtMost(1.3)),
    )])
}
