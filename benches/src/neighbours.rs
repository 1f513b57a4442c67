//! What one user's greed costs the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    Bench,
    http::Connection,
    load::requests,
    table::{Row, Target, alone, compared},
    writes::{LASTS, create, created},
};

/// Those who only create.
const OTHERS: usize = 8;
/// As many changes of one ticket as a user within its limit may send at once.
const AT_ONCE: usize = 190;
const AGAIN: Duration = Duration::from_secs(1);

/// A create of others beside a user who sends many changes of one ticket at once, each second again, and without.
pub(crate) async fn neighbours(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (mut p95_ms, mut applied) = (vec![], vec![]);
    for _ in 0..bench.rounds {
        bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let others = || {
            requests(
                &service,
                OTHERS,
                LASTS / 2,
                ("POST", 201),
                &bench.token,
                create,
            )
        };
        let without = others().await?;
        let greedy = bench.servers.token("greedy")?;
        let path = created(&service, &greedy).await?;
        let mut connections = Vec::new();
        for _ in 0..AT_ONCE {
            connections.push(service.connect().await?);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let greed = tokio::spawn(greed(connections, path, greedy, Arc::clone(&is_over)));
        let beside = others().await?;
        is_over.store(true, Ordering::Relaxed);
        let [done, refused] = greed.await??;
        ensure!(
            refused > done,
            "{done} changes were applied, and {refused} refused"
        );
        applied.push(done as f64 / (done + refused) as f64 * 100.0);
        p95_ms.push((beside.percentile_ms(95), without.percentile_ms(95)));
        service.stop()?;
    }
    Ok(vec![
        compared(
            format!("p95 of a create beside {AT_ONCE} changes at once, limit: without"),
            "ms",
            &p95_ms,
            Some(Target::AtMost(2.0)),
        ),
        alone("  of the changes are applied", "%", applied, None),
    ])
}

/// How many changes were applied, and how many refused.
async fn greed(
    mut connections: Vec<Connection>,
    path: String,
    token: String,
    is_over: Arc<AtomicBool>,
) -> anyhow::Result<[usize; 2]> {
    let mut counts = [0; 2];
    let mut again = interval(AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !is_over.load(Ordering::Relaxed) {
        again.tick().await;
        let mut sent = JoinSet::new();
        for (number, mut connection) in std::mem::take(&mut connections).into_iter().enumerate() {
            let (path, token) = (path.clone(), token.clone());
            sent.spawn(async move {
                let body = format!(r#"{{"title":"concert","price":{number}.5}}"#);
                let answer = connection.send("PUT", &path, &token, &body).await?;
                anyhow::Ok((connection, answer.status))
            });
        }
        while let Some(answered) = sent.join_next().await {
            let (connection, status) = answered??;
            ensure!(
                [200, 503].contains(&status),
                "a change was answered {status}"
            );
            counts[usize::from(status == 503)] += 1;
            connections.push(connection);
        }
    }
    Ok(counts)
}
