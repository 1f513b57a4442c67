//! Many at once for a time, and what came of it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::servers::Service;

/// What a load came to.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) done: usize,
    /// Each one's duration in milliseconds, sorted.
    took_ms: Vec<f64>,
}

impl Load {
    /// Of what was done by many in `elapsed`.
    fn new(mut took_ms: Vec<f64>, elapsed: Duration) -> Self {
        took_ms.sort_by(f64::total_cmp);
        Self {
            per_second: took_ms.len() as f64 / elapsed.as_secs_f64(),
            done: took_ms.len(),
            took_ms,
        }
    }

    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        percentile(&self.took_ms, percent)
    }
}

/// Of values that are sorted.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    percentile(&values, 50)
}

/// `writers` tasks, each of which does `once` over and over until `lasts` is over. `once` is given the task's number
/// and returns its own state for the next time.
pub(crate) async fn run<S, F>(
    states: Vec<S>,
    lasts: Duration,
    once: impl Fn(S) -> F + Clone + Send + 'static,
) -> anyhow::Result<Load>
where
    S: Send + 'static,
    F: Future<Output = anyhow::Result<S>> + Send,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut state in states {
        let once = once.clone();
        tasks.spawn(async move {
            let mut took_ms = Vec::new();
            while began.elapsed() < lasts {
                let one = Instant::now();
                state = once(state).await?;
                took_ms.push(one.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(took_ms)
        });
    }
    let mut all = Vec::new();
    while let Some(took_ms) = tasks.join_next().await {
        all.extend(took_ms??);
    }
    Ok(Load::new(all, began.elapsed()))
}

/// A request again and again over each of `connections`, which must be answered with `status`.
pub(crate) async fn requests(
    service: &Service,
    connections: usize,
    lasts: Duration,
    (method, status): (&'static str, u16),
    token: &str,
    request: impl Fn() -> (String, String) + Clone + Send + Sync + 'static,
) -> anyhow::Result<Load> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push((service.connect().await?, token.to_owned()));
    }
    run(open, lasts, move |(mut connection, token)| {
        let (path, body) = request();
        async move {
            let answer = connection.send(method, &path, &token, &body).await?;
            ensure!(
                answer.status == status,
                "{method} {path} was answered {}",
                answer.status
            );
            Ok((connection, token))
        }
    })
    .await
}
