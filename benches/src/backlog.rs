//! How fast a backlog goes, whatever its shape.

use std::time::{Duration, Instant};

use bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId};
use mongodb::{Database, options::Hint};
use tokio::time::sleep;

use crate::{
    Bench,
    raw::{self, Headers},
    raw_relay,
    servers::STREAM,
    table::{Row, Target, alone, compared},
    writes::drained,
};

const BATCH: usize = 5_000;

/// Adds `events` of so many tickets.
pub(crate) async fn fill(
    database: &Database,
    events: usize,
    tickets: usize,
    sent: &str,
) -> anyhow::Result<()> {
    let collection = database.collection::<Document>("events");
    let ids: Vec<ObjectId> = (0..tickets).map(|_| ObjectId::new()).collect();
    let mut batch = Vec::with_capacity(BATCH);
    for number in 0..events {
        let version = i64::try_from(number / tickets)?;
        let (_, mut event) = raw::documents(ids[number % tickets], version, sent);
        if sent == "YES" {
            event.insert("sentAt", DateTime::now());
        }
        batch.push(event);
        if batch.len() == BATCH || number + 1 == events {
            collection
                .insert_many(batch.drain(..))
                .ordered(false)
                .await?;
        }
    }
    Ok(())
}

/// Events a second that the service publishes and marks, from the first message to the last mark.
pub(crate) async fn service_drain(
    bench: &Bench,
    name: &str,
    database: &Database,
    events: usize,
) -> anyhow::Result<(f64, f64)> {
    let (service, _) = bench.servers.service(name).await?;
    let jetstream = bench.servers.jetstream().await?;
    let began = loop {
        if let Ok(mut stream) = jetstream.get_stream(STREAM).await
            && stream.info().await?.state.messages > 0
        {
            break Instant::now();
        }
        sleep(Duration::from_millis(1)).await;
    };
    let cpu = service.cpu_seconds()?;
    drained(database).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let cpu_us = (service.cpu_seconds()? - cpu) * 1e6 / events as f64;
    service.stop()?;
    Ok((events as f64 / elapsed, cpu_us))
}

/// Events a second that the limit's loop does: with as many tickets as events one that need not keep any order.
pub(crate) async fn raw_drain(
    bench: &Bench,
    events: usize,
    tickets: usize,
    of: Headers,
) -> anyhow::Result<f64> {
    let database = bench.fresh("raw", 128).await?;
    fill(&database, events, tickets, "NO").await?;
    let jetstream = bench.fresh_stream().await?;
    if tickets < events {
        return raw_relay::drain_in_order(&database, &jetstream).await;
    }
    raw::drain(&database, &jetstream, of).await
}

/// The backlog of an outage, of as many tickets as events or of few.
pub(crate) async fn drain(
    bench: &Bench,
    events: usize,
    tickets: usize,
) -> anyhow::Result<Vec<Row>> {
    let is_distinct = tickets == events;
    let (mut per_second, mut of_same_messages, mut cpu_us) = (vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        let limit = raw_drain(bench, events, tickets, Headers::Id).await?;
        let database = bench.fresh("service", 4).await?;
        fill(&database, events, tickets, "NO").await?;
        let (drained, cpu) = service_drain(bench, "service", &database, events).await?;
        per_second.push((drained, limit));
        cpu_us.push(cpu);
        if is_distinct && bench.servers.nodes == 1 {
            let limit = raw_drain(bench, events, tickets, Headers::Whole).await?;
            of_same_messages.push((drained, limit));
        }
    }
    let target = match bench.servers.nodes {
        1 if is_distinct => 0.85,
        1 => 0.8,
        _ => 0.7,
    };
    let name = format!("backlog of {events} events, {tickets} tickets");
    let mut rows = vec![compared(
        name,
        "/s",
        &per_second,
        Some(Target::AtLeast(target)),
    )];
    if !of_same_messages.is_empty() {
        let name = "  limit: the same headers";
        rows.push(compared(name, "/s", &of_same_messages, None));
    }
    if bench.servers.nodes == 1 {
        rows.push(alone("  processor time of an event", "µs", cpu_us, None));
    }
    Ok(rows)
}

/// The same drain with one event at its head of each kind that can never be published, beside one without.
pub(crate) async fn poisoned(bench: &Bench, events: usize) -> anyhow::Result<Vec<Row>> {
    let poison = testbed::poison("ticket");
    let mut per_second = vec![];
    for _ in 0..bench.rounds {
        let mut both = [0.0; 2];
        for (at, poison) in [&poison[..], &[]].into_iter().enumerate() {
            bench.fresh_stream().await?;
            let database = bench.fresh("service", 4).await?;
            let collection = database.collection::<RawDocumentBuf>("events");
            for (_, event) in poison {
                collection.insert_one(event).await?;
            }
            fill(&database, events, events, "NO").await?;
            let (service, _) = bench.servers.service("service").await?;
            let began = Instant::now();
            while unsent(&database).await? > poison.len() as u64 {
                sleep(Duration::from_millis(20)).await;
            }
            both[at] = events as f64 / began.elapsed().as_secs_f64();
            service.stop()?;
        }
        per_second.push((both[0], both[1]));
    }
    let name = format!(
        "backlog of {events} behind {} poisoned events",
        poison.len()
    );
    let target = Some(Target::AtLeast(0.83));
    Ok(vec![compared(name, "/s", &per_second, target)])
}

async fn unsent(database: &Database) -> anyhow::Result<u64> {
    let events = database.collection::<Document>("events");
    let unsent = events.count_documents(doc! { "sent": "NO" });
    Ok(unsent.hint(Hint::Name("unsent".to_owned())).await?)
}

/// What a long backlog costs in memory.
pub(crate) async fn memory(bench: &Bench, events: usize) -> anyhow::Result<Vec<Row>> {
    let database = bench.fresh("service", 4).await?;
    let (service, _) = bench.servers.service("service").await?;
    let idle = service.resident_mib()?;
    bench.servers.stop_nats().await;
    fill(&database, events, events, "NO").await?;
    bench.servers.start_nats().await;
    drained(&database).await?;
    let more = service.peak_mib()? - idle;
    service.stop()?;
    let name = format!("memory over idle, draining {events}");
    Ok(vec![alone(name, "MiB", [more], Some(Target::AtMost(20.0)))])
}
