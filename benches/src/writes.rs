//! What a write costs: creates a second, one create alone, a hot ticket.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::{Document, doc, oid::ObjectId};
use mongodb::Database;
use serde_json::Value;

use crate::{
    Bench,
    load::requests,
    raw, raw_relay,
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
    let name = format!("creates {at}");
    let creates = compared(name, "/s", &per_second, Some(Target::AtLeast(0.70)));
    if bench.servers.nodes > 1 {
        return Ok(vec![creates]);
    }
    Ok(vec![
        creates,
        alone(
            format!("  backlog at the end {at}"),
            "s",
            left_seconds,
            Some(Target::AtMost(1.0)),
        ),
        alone(
            format!("  processor time, relay included, {at}"),
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

/// One create after the other, beside one raw writer with the least of a relay. Each start of either is another draw: a process falls into a
/// faster or a slower rhythm with the server, and stays there.
pub(crate) async fn one_at_a_time(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    const STARTS: usize = 10;
    let lasts = LASTS / 5;
    let (mut p50_ms, mut without_relay) = (vec![], vec![]);
    for _ in 0..STARTS.max(bench.rounds) {
        let raw = bench.fresh("raw", 4).await?;
        let jetstream = bench.fresh_stream().await?;
        let limit = raw_relay::one_writer(&raw, jetstream, lasts).await?;
        let raw = bench.fresh("raw", 1).await?;
        let alone = raw::transactions(&raw, 1, lasts).await?;
        bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let load = requests(&service, 1, lasts, ("POST", 201), &bench.token, create).await?;
        service.stop()?;
        let p50 = load.percentile_ms(50);
        p50_ms.push((p50, limit.percentile_ms(50)));
        without_relay.push((p50, alone.percentile_ms(50)));
    }
    let target = Some(Target::AtMost(1.1));
    Ok(vec![
        compared("one create alone, p50, ten starts", "ms", &p50_ms, target),
        compared("  limit: without a relay", "ms", &without_relay, None),
    ])
}

/// As many writers of one ticket as a user may be.
pub(crate) async fn hot_ticket(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    const WRITERS: usize = 4;
    let mut per_second = vec![];
    for _ in 0..bench.rounds {
        let raw = bench.fresh("raw", WRITERS).await?;
        let id = ObjectId::new();
        raw.collection::<Document>("tickets")
            .insert_one(raw::documents(id, 0, "NO").0)
            .await?;
        let limit = raw::updates(&raw, id, WRITERS, LASTS / 2).await?;
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
        let kind = ("PUT", 200);
        let load = requests(&service, WRITERS, LASTS / 2, kind, &bench.token, put).await?;
        per_second.push((load.per_second, limit.per_second));
        drained(&database).await?;
        service.stop()?;
    }
    Ok(vec![compared(
        "updates of one ticket, its user's four writers",
        "/s",
        &per_second,
        None,
    )])
}

/// The path of a new ticket.
pub(crate) async fn created(service: &Service, token: &str) -> anyhow::Result<String> {
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
