//! How fast waiting messages are applied: orders of tickets, on as many keys as messages or on few.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::{HeaderMap, jetstream};
use bson::{Document, doc, oid::ObjectId};
use futures_util::{TryStreamExt, stream::FuturesUnordered};
use mongodb::{Database, change_stream::event::ChangeStreamEvent};
use tokio::time::{interval, sleep};

use crate::{
    Bench,
    load::percentile,
    raw, raw_inbox,
    servers::{ORDERS, Service},
    table::{Row, Target, alone, compared},
    writes::LASTS,
};

const PUBLISHED_AT_ONCE: usize = 512;
/// The consumer's name at the stream: the service's and its own.
const DURABLE: &str = "tickets-reservations";

/// The tickets that orders want, one for each.
async fn tickets(database: &Database, count: usize) -> anyhow::Result<Vec<ObjectId>> {
    let ids: Vec<ObjectId> = (0..count).map(|_| ObjectId::new()).collect();
    let tickets = database.collection::<Document>("tickets");
    for ids in ids.chunks(5_000) {
        let documents = ids.iter().map(|id| raw::documents(*id, 0, "YES").0);
        tickets.insert_many(documents).ordered(false).await?;
    }
    Ok(ids)
}

/// The event of an order of its own for each ticket: created and cancelled in turn.
fn message(ticket: ObjectId, version: usize) -> (String, HeaderMap, String) {
    let status = ["created", "cancelled"][version % 2];
    // An order may have the id of its ticket.
    let (key, r#type) = (ticket.to_hex(), format!("order.{status}"));
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{key}-{version}"));
    headers.insert("ce-type", r#type.as_str());
    headers.insert("ce-subject", key.as_str());
    headers.insert("ce-keyversion", version.to_string());
    let payload = format!(
        r#"{{"id":"{key}","version":{version},"status":"{status}","userId":"bench","expiresAt":null,"ticket":{{"id":"{key}","price":20.5}}}}"#
    );
    (format!("{type}.{key}"), headers, payload)
}

/// An empty stream of orders.
pub(crate) async fn stream(bench: &Bench) -> anyhow::Result<jetstream::Context> {
    let jetstream = bench.servers.jetstream().await?;
    drop(jetstream.delete_stream(ORDERS).await);
    let config = jetstream::stream::Config {
        name: ORDERS.to_owned(),
        subjects: vec!["order.>".to_owned()],
        ..Default::default()
    };
    jetstream.create_stream(config).await?;
    Ok(jetstream)
}

/// Publishes so many messages, whose versions begin with `first`.
async fn publish(
    jetstream: &jetstream::Context,
    tickets: &[ObjectId],
    messages: usize,
    first: usize,
) -> anyhow::Result<()> {
    let mut acks = FuturesUnordered::new();
    for number in 0..messages {
        let (ticket, version) = (
            tickets[number % tickets.len()],
            first + number / tickets.len(),
        );
        let (subject, headers, payload) = message(ticket, version);
        let ack = jetstream.publish_with_headers(subject, headers, payload.into());
        acks.push(ack.await?.into_future());
        if acks.len() >= PUBLISHED_AT_ONCE {
            acks.try_next().await?;
        }
    }
    while acks.try_next().await?.is_some() {}
    Ok(())
}

/// Waits until the consumer has acknowledged everything.
async fn acknowledged(jetstream: &jetstream::Context) -> anyhow::Result<()> {
    let stream = jetstream.get_stream(ORDERS).await?;
    loop {
        if let Ok(info) = stream.consumer_info(DURABLE).await
            && info.num_pending == 0
            && info.num_ack_pending == 0
        {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Messages a second that the service applies, from its first message to its last acknowledgement; processor time of each, in µs.
async fn service_applies(
    bench: &Bench,
    jetstream: &jetstream::Context,
    database: &Database,
    messages: usize,
) -> anyhow::Result<(f64, f64)> {
    let service = bench.servers.consumer("service");
    let (began, cpu) = first_applied(database, &service).await?;
    acknowledged(jetstream).await?;
    let per_second = messages as f64 / began.elapsed().as_secs_f64();
    let cpu_us = (service.cpu_seconds()? - cpu) * 1e6 / messages as f64;
    service.stop()?;
    Ok((per_second, cpu_us))
}

async fn first_applied(database: &Database, service: &Service) -> anyhow::Result<(Instant, f64)> {
    let marks = database.collection::<Document>("inbox");
    while marks.find_one(doc! {}).await?.is_none() {
        sleep(Duration::from_millis(1)).await;
    }
    Ok((Instant::now(), service.cpu_seconds()?))
}

/// So many messages that wait, of as many keys or of few, beside a minimal loop that does the same transactions.
pub(crate) async fn applied(
    bench: &Bench,
    messages: usize,
    keys: usize,
) -> anyhow::Result<Vec<Row>> {
    let (mut per_second, mut cpu) = (vec![], vec![]);
    for _ in 0..bench.rounds {
        let database = bench.fresh("raw", 40).await?;
        let (jetstream, ids) = (stream(bench).await?, tickets(&database, keys).await?);
        publish(&jetstream, &ids, messages, 0).await?;
        let limit = raw_inbox::apply(&database, &jetstream, messages).await?;
        let database = bench.fresh("service", 4).await?;
        let (jetstream, ids) = (stream(bench).await?, tickets(&database, keys).await?);
        publish(&jetstream, &ids, messages, 0).await?;
        let (applied, cpu_us) = service_applies(bench, &jetstream, &database, messages).await?;
        per_second.push((applied, limit));
        cpu.push(cpu_us / 1000.0);
    }
    let name = format!("{messages} messages applied, {keys} keys");
    Ok(vec![
        compared(name, "/s", &per_second, Some(Target::AtLeast(0.8))),
        alone("  processor time of a message", "ms", cpu, None),
    ])
}

/// The time of so many messages of as many keys behind as many of one key, whose first is missing; beside their time alone.
pub(crate) async fn poisoned(bench: &Bench, messages: usize) -> anyhow::Result<Vec<Row>> {
    let mut times = vec![];
    for _ in 0..bench.rounds {
        let mut took = [0.0; 2];
        for (took, bad) in took.iter_mut().zip([messages, 0]) {
            let database = bench.fresh("service", 4).await?;
            let (jetstream, ids) = (
                stream(bench).await?,
                tickets(&database, messages + 1).await?,
            );
            publish(&jetstream, &ids[messages..], bad, 1).await?;
            publish(&jetstream, &ids[..messages], messages, 0).await?;
            let service = bench.servers.consumer("service");
            let (began, _) = first_applied(&database, &service).await?;
            acknowledged(&jetstream).await?;
            *took = began.elapsed().as_secs_f64();
            service.stop()?;
        }
        let [behind, alone] = took;
        times.push((behind, alone));
    }
    let name = format!("{messages} messages behind as many that cannot be applied");
    Ok(vec![compared(name, "s", &times, Some(Target::AtMost(1.2)))])
}

/// What twice as many messages add to the memory that the first ones took.
pub(crate) async fn memory(bench: &Bench, messages: usize) -> anyhow::Result<Vec<Row>> {
    let database = bench.fresh("service", 4).await?;
    let (jetstream, ids) = (stream(bench).await?, tickets(&database, messages).await?);
    publish(&jetstream, &ids, messages, 0).await?;
    let service = bench.servers.consumer("service");
    first_applied(&database, &service).await?;
    acknowledged(&jetstream).await?;
    let first = service.peak_mib()?;
    publish(&jetstream, &ids, messages, 1).await?;
    acknowledged(&jetstream).await?;
    let more = service.peak_mib()? - first;
    service.stop()?;
    let name = format!("memory that {messages} more messages take");
    Ok(vec![
        alone(name, "MiB", [more], Some(Target::AtMost(10.0))),
        alone("  peak after the first", "MiB", [first], None),
    ])
}

/// From the publication of a message to the commit that applies it, at 300 a second; a change stream tells of the commits.
pub(crate) async fn lag(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    const RATE: usize = 300;
    let total = RATE * usize::try_from(LASTS.as_secs())?;
    let (mut p50, mut p99) = (vec![], vec![]);
    for _ in 0..bench.rounds {
        let database = bench.fresh("service", 4).await?;
        let (jetstream, ids) = (stream(bench).await?, tickets(&database, total + 1).await?);
        let marks = database.collection::<Document>("inbox");
        let service = bench.servers.consumer("service");
        publish(&jetstream, &ids[total..], 1, 0).await?;
        first_applied(&database, &service).await?;
        let mut commits = marks.watch().await?;
        let arrivals = tokio::spawn(async move {
            let mut at = std::collections::HashMap::new();
            while at.len() < total
                && let Some(commit) = commits.try_next().await?
            {
                at.insert(key_of(&commit)?, Instant::now());
            }
            anyhow::Ok(at)
        });
        let mut published = Vec::with_capacity(total);
        let mut tick = interval(Duration::from_secs(1) / u32::try_from(RATE)?);
        for ticket in &ids[..total] {
            tick.tick().await;
            let (subject, headers, payload) = message(*ticket, 0);
            published.push((ticket.to_hex(), Instant::now()));
            jetstream
                .publish_with_headers(subject, headers, payload.into())
                .await?;
        }
        let at = tokio::time::timeout(LASTS, arrivals).await???;
        let mut lags_ms = Vec::with_capacity(total);
        for (key, published) in published {
            let applied = at.get(&key).context("a message that was never applied")?;
            lags_ms.push(applied.saturating_duration_since(published).as_secs_f64() * 1000.0);
        }
        lags_ms.sort_by(f64::total_cmp);
        p50.push(percentile(&lags_ms, 50));
        p99.push(percentile(&lags_ms, 99));
        service.stop()?;
    }
    Ok(vec![
        alone("from publication to commit at 300/s, p50", "ms", p50, None),
        alone("from publication to commit at 300/s, p99", "ms", p99, None),
    ])
}

fn key_of(commit: &ChangeStreamEvent<Document>) -> anyhow::Result<String> {
    let id = commit.document_key.as_ref().context("no document")?;
    Ok(id.get_document("_id")?.get_str("key")?.to_owned())
}
