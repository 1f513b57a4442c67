//! What is still done when three times as much is asked for as can be done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval_at},
};

use crate::{
    Bench,
    load::{percentile, requests},
    servers::Service,
    table::{Row, Target, alone, compared},
    writes::{CREATE, LASTS, create},
};

const PEAK_CONNECTIONS: usize = 64;
const CONNECTIONS: usize = 1_000;
const TIMES: f64 = 3.0;

/// Creates a second under the overload, beside the most that was done without.
pub(crate) async fn overload(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (mut goodput, mut offered) = (vec![], vec![]);
    let (mut peak_p99_ms, mut p99_ms, mut refused_p50_ms) = (vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        bench.fresh("service", 4).await?;
        let (service, _) = bench.servers.service("service").await?;
        let kind = ("POST", 201);
        let peak = requests(
            &service,
            PEAK_CONNECTIONS,
            LASTS,
            kind,
            &bench.token,
            create,
        )
        .await?;
        let (done, refused) = offer(bench, &service, TIMES * peak.per_second).await?;
        let per_second = |count: usize| count as f64 / LASTS.as_secs_f64();
        goodput.push((per_second(done.len()), peak.per_second));
        offered.push((per_second(done.len() + refused.len()), peak.per_second));
        peak_p99_ms.push(peak.percentile_ms(99));
        p99_ms.push(percentile(&done, 99));
        refused_p50_ms.push(percentile(&refused, 50));
        service.stop()?;
    }
    let name = "creates at 3 times what can be done, limit: the most";
    Ok(vec![
        compared(name, "/s", &goodput, Some(Target::AtLeast(0.8))),
        // Were the load slowed by the answers, it would be no overload.
        compared("  asked for", "/s", &offered, Some(Target::AtLeast(2.7))),
        alone("  p99 of a create at the most", "ms", peak_p99_ms, None),
        alone(
            "  p99 of what is done",
            "ms",
            p99_ms,
            Some(Target::AtMost(1_000.0)),
        ),
        alone("  p50 of what is refused", "ms", refused_p50_ms, None),
    ])
}

/// Sends so many a second, whatever is answered; the sorted durations of what was done and of what was refused, in ms.
async fn offer(
    bench: &Bench,
    service: &Service,
    per_second: f64,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let period = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
    let late = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let begin = tokio::time::Instant::now() + Duration::from_millis(500);
    for number in 0..CONNECTIONS {
        let (mut connection, token) = (service.connect().await?, bench.token.clone());
        let first = begin + period.mul_f64(number as f64 / CONNECTIONS as f64);
        let late = Arc::clone(&late);
        tasks.spawn(async move {
            let (mut done, mut refused) = (vec![], vec![]);
            let mut ticks = interval_at(first, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while begin.elapsed() < LASTS {
                ticks.tick().await;
                let one = Instant::now();
                let answer = connection
                    .send("POST", "/api/tickets", &token, CREATE)
                    .await?;
                let took_ms = one.elapsed().as_secs_f64() * 1000.0;
                if one.elapsed() > period {
                    late.fetch_add(1, Ordering::Relaxed);
                }
                match answer.status {
                    201 => done.push(took_ms),
                    status => {
                        let shed = String::from_utf8_lossy(&answer.body)
                            .contains("nothing of this one was done");
                        ensure!(status == 503 && shed, "a create was answered {status}");
                        refused.push(took_ms);
                    }
                }
            }
            Ok((done, refused))
        });
    }
    let (mut done, mut refused) = (vec![], vec![]);
    while let Some(ended) = tasks.join_next().await {
        let (more_done, more_refused) = ended??;
        done.extend(more_done);
        refused.extend(more_refused);
    }
    done.sort_by(f64::total_cmp);
    refused.sort_by(f64::total_cmp);
    let late = late.load(Ordering::Relaxed);
    eprintln!(
        "bench: {} done, {} refused, {late} answered later than the next was due",
        done.len(),
        refused.len()
    );
    Ok((done, refused))
}
