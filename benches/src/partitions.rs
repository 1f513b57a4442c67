//! A trial of docs/scale.md: the keys are divided among partitions, each with a lease, a backlog and a stream of its own.

use std::time::Instant;

use futures_util::future::try_join_all;

use crate::{
    Bench,
    backlog::fill,
    servers::Place,
    table::{Row, compared},
    writes::drained,
};

/// Two instances, of which each publishes one half of the keys, beside one that publishes all.
pub(crate) async fn partitions(bench: &Bench, events: usize) -> anyhow::Result<Vec<Row>> {
    let mut per_second = vec![];
    for _ in 0..bench.rounds {
        let one = drain(bench, events, 1).await?;
        per_second.push((drain(bench, events, 2).await?, one));
    }
    let name = format!("backlog of {events} in two partitions, limit: in one");
    Ok(vec![compared(name, "/s", &per_second, None)])
}

async fn drain(bench: &Bench, events: usize, partitions: usize) -> anyhow::Result<f64> {
    let names: Vec<String> = (0..partitions).map(|it| format!("part{it}")).collect();
    let mut databases = vec![];
    for name in &names {
        let database = bench.fresh(name, 4).await?;
        fill(&database, events / partitions, events / partitions, "NO").await?;
        drop(bench.servers.jetstream().await?.delete_stream(name).await);
        databases.push(database);
    }
    let began = Instant::now();
    let starts = names.iter().map(|name| {
        bench.servers.instance(Place {
            database: name,
            stream: name,
            prefix: name,
        })
    });
    let services = try_join_all(starts).await?;
    try_join_all(databases.iter().map(drained)).await?;
    let per_second = events as f64 / began.elapsed().as_secs_f64();
    for (service, _) in services {
        service.stop()?;
    }
    Ok(per_second)
}
