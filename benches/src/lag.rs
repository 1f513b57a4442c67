//! How long after the answer of a create its message arrives.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bson::oid::ObjectId;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet, time::interval};

use crate::{
    Bench,
    http::Connection,
    load::percentile,
    raw,
    raw_relay::Relay,
    servers::Service,
    table::{Row, Target, alone, compared},
    writes::{CREATE, LASTS, drained},
};

const RATE: u32 = 300;
const WRITERS: usize = 32;

/// Saves a ticket by `W`, and says which and when it was told so.
type Create<W> = Arc<dyn Fn(W) -> BoxFuture<'static, anyhow::Result<(W, Saved)>> + Send + Sync>;
type Saved = (String, Instant);

/// At 300 creates a second, in the mean half of what one machine does.
pub(crate) async fn lag(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (mut p50, mut p99) = (vec![], vec![]);
    let has_limit = bench.servers.nodes > 1;
    for _ in 0..bench.rounds {
        let limits_ms = if has_limit {
            of_relay(bench).await?
        } else {
            vec![]
        };
        let database = bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let lags_ms = of_service(&service, bench).await?;
        drained(&database).await?;
        service.stop()?;
        p50.push((percentile(&lags_ms, 50), percentile(&limits_ms, 50)));
        p99.push((percentile(&lags_ms, 99), percentile(&limits_ms, 99)));
    }
    let name = |percent| format!("from answer to message at {RATE}/s, {percent}");
    if has_limit {
        return Ok(vec![
            compared(name("p50"), "ms", &p50, None),
            compared(name("p99"), "ms", &p99, None),
        ]);
    }
    let of_service = |of: Vec<(f64, f64)>| of.into_iter().map(|(service, _)| service);
    Ok(vec![
        alone(
            name("p50"),
            "ms",
            of_service(p50),
            Some(Target::AtMost(2.5)),
        ),
        alone(
            name("p99"),
            "ms",
            of_service(p99),
            Some(Target::AtMost(8.0)),
        ),
    ])
}

async fn of_service(service: &Service, bench: &Bench) -> anyhow::Result<Vec<f64>> {
    let mut connections = Vec::new();
    for _ in 0..WRITERS {
        connections.push(service.connect().await?);
    }
    let token: Arc<str> = bench.token.as_str().into();
    let create: Create<Connection> = Arc::new(move |mut connection| {
        let token = Arc::clone(&token);
        async move {
            let sent = connection.send("POST", "/api/tickets", &token, CREATE);
            let (answer, now) = (sent.await?, Instant::now());
            let body: Value = serde_json::from_slice(&answer.body)?;
            let id = body["id"].as_str().context("no id")?.to_owned();
            Ok((connection, (id, now)))
        }
        .boxed()
    });
    lags_ms(bench, connections, create).await
}

/// What the least of a relay needs, which has each event in memory as soon as it is saved.
async fn of_relay(bench: &Bench) -> anyhow::Result<Vec<f64>> {
    let database = bench.fresh("raw", WRITERS).await?;
    let relay = Relay::start(&database, bench.fresh_stream().await?);
    let events = relay.events.clone();
    let of_relay = (0..WRITERS).map(|_| (database.clone(), events.clone()));
    let create: Create<(_, mpsc::UnboundedSender<_>)> = Arc::new(|(database, events)| {
        async move {
            let id = ObjectId::new();
            let (ticket, event) = raw::documents(id, 0, "NO");
            raw::transaction(&database, &ticket, &event).await?;
            let now = Instant::now();
            events.send(event)?;
            Ok(((database, events), (id.to_hex(), now)))
        }
        .boxed()
    });
    let lags_ms = lags_ms(bench, of_relay.collect(), create).await?;
    drop(events);
    relay.finish().await?;
    Ok(lags_ms)
}

/// From each answer to the arrival of its message, sorted.
async fn lags_ms<W: Send + 'static>(
    bench: &Bench,
    mut idle: Vec<W>,
    create: Create<W>,
) -> anyhow::Result<Vec<f64>> {
    let client = bench.servers.nats().await?;
    let mut messages = client.subscribe("ticket.>").await?;
    client.flush().await?;
    let total = usize::try_from(RATE)? * usize::try_from(LASTS.as_secs())?;
    let arrivals = tokio::spawn(async move {
        let mut arrived = HashMap::with_capacity(total);
        while arrived.len() < total
            && let Some(message) = messages.next().await
        {
            let id = message.subject.rsplit('.').next().unwrap_or_default();
            arrived.entry(id.to_owned()).or_insert_with(Instant::now);
        }
        arrived
    });
    let (mut running, mut answers) = (JoinSet::new(), Vec::with_capacity(total));
    let mut tick = interval(Duration::from_secs(1) / RATE);
    for _ in 0..total {
        tick.tick().await;
        while let Some(done) = running.try_join_next() {
            let (writer, saved) = done??;
            idle.push(writer);
            answers.push(saved);
        }
        if idle.is_empty() {
            let done = running.join_next().await;
            let (writer, saved) = done.context("somebody writes")???;
            idle.push(writer);
            answers.push(saved);
        }
        running.spawn(create(idle.pop().context("somebody is idle")?));
    }
    while let Some(done) = running.join_next().await {
        answers.push(done??.1);
    }
    let arrived = tokio::time::timeout(Duration::from_secs(30), arrivals).await??;
    let lag_ms = |(id, answered): (String, Instant)| {
        let arrived = arrived.get(&id).context("a message that never arrived")?;
        Ok(arrived.saturating_duration_since(answered).as_secs_f64() * 1000.0)
    };
    let mut lags_ms: Vec<f64> = answers
        .into_iter()
        .map(lag_ms)
        .collect::<anyhow::Result<_>>()?;
    lags_ms.sort_by(f64::total_cmp);
    Ok(lags_ms)
}
