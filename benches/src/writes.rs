//! What a write costs: creates a second, one create alone, a hot ticket, and what of it the publisher adds.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bson::{Document, doc, oid::ObjectId};
use futures_util::StreamExt;
use mongodb::Database;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet, time::interval};

use crate::{
    Bench,
    load::{percentile, requests},
    raw,
    servers::Service,
    table::{Row, Target, alone, compared},
};

pub(crate) const LASTS: Duration = Duration::from_secs(10);
pub(crate) const CREATE: &str = r#"{"title":"concert","price":20.5}"#;

pub(crate) fn create() -> (String, String) {
    ("/api/tickets".to_owned(), CREATE.to_owned())
}

/// Creates a second at so many connections, beside raw transactions; processor time for each; memory.
pub(crate) async fn creates(bench: &Bench, connections: usize) -> anyhow::Result<Vec<Row>> {
    let (mut per_second, mut cpu_ms, mut peak_mib, mut left_seconds) =
        (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        let raw = bench.fresh("raw", connections).await?;
        let limit = raw::transactions(&raw, connections, LASTS).await?;
        let database = bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let load = requests(
            &service,
            connections,
            LASTS,
            ("POST", 201),
            &bench.token,
            create,
        )
        .await?;
        let waiting = Instant::now();
        drained(&database).await?;
        left_seconds.push(waiting.elapsed().as_secs_f64());
        per_second.push((load.per_second, limit.per_second));
        cpu_ms.push(service.cpu_seconds()? * 1000.0 / load.done as f64);
        peak_mib.push(service.peak_mib()?);
        service.stop()?;
    }
    let at = format!("at {connections} connections");
    Ok(vec![
        compared(
            format!("creates {at}"),
            "/s",
            &per_second,
            Some(Target::AtLeast(0.70)),
        ),
        alone(
            format!("  backlog at the end {at}"),
            "s",
            left_seconds,
            Some(Target::AtMost(1.0)),
        ),
        alone(
            format!("  processor time of a create {at}"),
            "ms",
            cpu_ms,
            Some(Target::AtMost(0.30)),
        ),
        alone(
            format!("  peak memory {at}"),
            "MiB",
            peak_mib,
            Some(Target::AtMost(40.0)),
        ),
    ])
}

/// One create after the other.
pub(crate) async fn one_at_a_time(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut p50_ms = vec![];
    for _ in 0..bench.rounds {
        let raw = bench.fresh("raw", 1).await?;
        let limit = raw::transactions(&raw, 1, LASTS / 2).await?;
        bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let load = requests(&service, 1, LASTS / 2, ("POST", 201), &bench.token, create).await?;
        p50_ms.push((load.percentile_ms(50), limit.percentile_ms(50)));
        service.stop()?;
    }
    Ok(vec![compared(
        "one create alone, p50",
        "ms",
        &p50_ms,
        Some(Target::AtMost(1.35)),
    )])
}

/// Thirty-two writers of one ticket.
pub(crate) async fn hot_ticket(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    const WRITERS: usize = 32;
    let mut per_second = vec![];
    for _ in 0..bench.rounds {
        let raw = bench.fresh("raw", WRITERS).await?;
        let id = ObjectId::new();
        raw.collection::<Document>("tickets")
            .insert_one(raw::documents(id, 0, "NO").0)
            .await?;
        let limit = raw::updates(&raw, id, WRITERS, LASTS).await?;
        let database = bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let path = created(&service, &bench.token).await?;
        let put = move || {
            let title = fastrand::u64(..);
            (
                path.clone(),
                format!(r#"{{"title":"{title}","price":20.5}}"#),
            )
        };
        // Any other answer than 200 fails the bench.
        let load = requests(&service, WRITERS, LASTS, ("PUT", 200), &bench.token, put).await?;
        per_second.push((load.per_second, limit.per_second));
        drained(&database).await?;
        service.stop()?;
    }
    Ok(vec![compared(
        "updates of one ticket, 32 writers",
        "/s",
        &per_second,
        None,
    )])
}

/// From the answer of a create to the arrival of its message, at 300 creates a second.
pub(crate) async fn lag(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    const RATE: u32 = 300;
    let (mut p50, mut p99) = (vec![], vec![]);
    for _ in 0..bench.rounds {
        let database = bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let lags_ms = lags_ms(&service, bench, RATE).await?;
        p50.push(percentile(&lags_ms, 50));
        p99.push(percentile(&lags_ms, 99));
        drained(&database).await?;
        service.stop()?;
    }
    Ok(vec![
        alone(
            "from answer to message at 300/s, p50",
            "ms",
            p50,
            Some(Target::AtMost(2.5)),
        ),
        alone(
            "from answer to message at 300/s, p99",
            "ms",
            p99,
            Some(Target::AtMost(8.0)),
        ),
    ])
}

async fn lags_ms(service: &Service, bench: &Bench, rate: u32) -> anyhow::Result<Vec<f64>> {
    let client = bench.servers.nats().await?;
    let mut messages = client.subscribe("ticket.>").await?;
    client.flush().await?;
    let (answered, mut answers) = mpsc::unbounded_channel::<(String, Instant)>();
    let total = usize::try_from(rate)? * usize::try_from(LASTS.as_secs())?;
    let arrivals = tokio::spawn(async move {
        let mut arrived = HashMap::with_capacity(total);
        while arrived.len() < total
            && let Some(message) = messages.next().await
        {
            let key = message
                .subject
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .to_owned();
            arrived.entry(key).or_insert_with(Instant::now);
        }
        arrived
    });
    let mut idle = Vec::new();
    for _ in 0..32 {
        idle.push(service.connect().await?);
    }
    let mut running = JoinSet::new();
    let mut tick = interval(Duration::from_secs(1) / rate);
    for _ in 0..total {
        tick.tick().await;
        while let Some(done) = running.try_join_next() {
            idle.push(done??);
        }
        let mut connection = match idle.pop() {
            Some(connection) => connection,
            None => service.connect().await?,
        };
        let (token, answered) = (bench.token.clone(), answered.clone());
        running.spawn(async move {
            let answer = connection
                .send("POST", "/api/tickets", &token, CREATE)
                .await?;
            let now = Instant::now();
            let body: Value = serde_json::from_slice(&answer.body)?;
            answered.send((body["id"].as_str().context("no id")?.to_owned(), now))?;
            anyhow::Ok(connection)
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    drop(answered);
    let arrived = tokio::time::timeout(Duration::from_secs(30), arrivals).await??;
    let mut lags_ms = Vec::with_capacity(total);
    while let Some((id, answered)) = answers.recv().await {
        let arrived = arrived.get(&id).context("a message that never arrived")?;
        lags_ms.push(arrived.saturating_duration_since(answered).as_secs_f64() * 1000.0);
    }
    lags_ms.sort_by(f64::total_cmp);
    Ok(lags_ms)
}

/// The path of a new ticket.
async fn created(service: &Service, token: &str) -> anyhow::Result<String> {
    let answer = service
        .connect()
        .await?
        .send("POST", "/api/tickets", token, CREATE)
        .await?;
    ensure!(
        answer.status == 201,
        "a create was answered {}",
        answer.status
    );
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok(format!(
        "/api/tickets/{}",
        body["id"].as_str().context("no id")?
    ))
}

/// Waits until nothing is unsent.
pub(crate) async fn drained(database: &Database) -> anyhow::Result<()> {
    let events = database.collection::<Document>("events");
    let unsent = || {
        events
            .find_one(doc! { "sent": "NO" })
            .projection(doc! { "_id": 1 })
    };
    while unsent().await?.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
