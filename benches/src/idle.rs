//! What it costs when nobody asks for anything: processor time, and the memory of connections that are kept.

use std::time::Duration;

use anyhow::ensure;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::time::sleep;

use crate::{
    Bench,
    http::Connection,
    inbox,
    load::requests,
    servers::{Place, Service},
    table::{Row, Target, alone, compared},
    writes::{LASTS, create},
};

/// For what an instance does once, and for what was kept of it.
pub(crate) const SETTLES: Duration = Duration::from_secs(5);
const LOOKS: Duration = Duration::from_secs(30);
const WRITERS: usize = 8;

/// An instance that publishes and consumes, and one that stands by.
pub(crate) async fn processor(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    bench.fresh("service", 4).await?;
    inbox::stream(bench).await?;
    let (first, _) = bench.servers.service("service").await?;
    let (second, _) = bench.servers.instance(Place::of("service")).await?;
    sleep(SETTLES).await;
    let mut percent = [vec![], vec![]];
    for _ in 0..bench.rounds {
        let both = [&first, &second];
        let before = both.map(Service::cpu_of_threads);
        sleep(LOOKS).await;
        for ((service, before), percent) in both.into_iter().zip(before).zip(&mut percent) {
            let busy = service.cpu_of_threads()?.saturating_sub(before?);
            percent.push(busy.as_secs_f64() / LOOKS.as_secs_f64() * 100.0);
        }
    }
    second.stop()?;
    first.stop()?;
    let [publishes, stands_by] = percent;
    let target = Some(Target::AtMost(0.1));
    Ok(vec![
        alone(
            "idle, of a core: publishes and consumes",
            "%",
            publishes,
            target,
        ),
        alone("  stands by and consumes", "%", stands_by, target),
    ])
}

/// What a connection costs that has asked for something and is kept, and what a create takes beside so many.
pub(crate) async fn connections(bench: &Bench, count: usize) -> anyhow::Result<Vec<Row>> {
    raise_file_limit(count)?;
    let (mut kib, mut p99_ms) = (vec![], vec![]);
    for _ in 0..bench.rounds {
        bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let alone = p99_of_creates(bench, &service).await?;
        let before = service.resident_mib()?;
        let idle = kept(&service, count).await?;
        sleep(SETTLES).await;
        kib.push((service.resident_mib()? - before) * 1024.0 / count as f64);
        p99_ms.push((p99_of_creates(bench, &service).await?, alone));
        drop(idle);
        service.stop()?;
    }
    Ok(vec![
        alone(
            format!("{count} idle connections, memory of each"),
            "KiB",
            kib,
            Some(Target::AtMost(6.0)),
        ),
        compared(
            "  p99 of a create beside them, limit: without",
            "ms",
            &p99_ms,
            Some(Target::AtMost(1.2)),
        ),
    ])
}

async fn kept(service: &Service, count: usize) -> anyhow::Result<Vec<Connection>> {
    let mut kept = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = service.connect().await?;
        let answer = connection.send("GET", "/health/live", "", "").await?;
        ensure!(answer.status == 200, "it was answered {}", answer.status);
        kept.push(connection);
    }
    Ok(kept)
}

async fn p99_of_creates(bench: &Bench, service: &Service) -> anyhow::Result<f64> {
    let kind = ("POST", 201);
    let load = requests(service, WRITERS, LASTS / 2, kind, &bench.token, create).await?;
    Ok(load.percentile_ms(99))
}

/// Both ends of a connection are files: ours here, the service's there.
fn raise_file_limit(connections: usize) -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let most = limit.current.unwrap_or(u64::MAX);
    let needed = connections as u64 + 256;
    ensure!(
        most >= needed,
        "ulimit -Hn is {most}, and {needed} are needed"
    );
    Ok(())
}
