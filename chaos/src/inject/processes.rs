//! Processes that are killed, asked to end, or paused. A process is under one fault at a time: its lock is held as long.

use std::time::{Duration, Instant};

use anyhow::ensure;
use testbed::Process;
use tokio::time::sleep;

use super::Effect;
use crate::world::Shared;

const RESTARTS: u32 = 20;
const RESTART_PAUSE: Duration = Duration::from_millis(150);

/// Kill -9 of each, and a new process of each when the time is over.
pub(super) async fn kill(processes: &[Shared], lasts: Duration) -> anyhow::Result<Effect> {
    let mut killed = Vec::new();
    let mut deaths = Vec::new();
    let mut since = None;
    for process in processes {
        let mut process = process.lock().await;
        since.get_or_insert_with(Instant::now);
        let pid = process.pid();
        deaths.push(process.kill().map(|()| pid));
        killed.push(process);
    }
    sleep(lasts).await;
    for process in &mut killed {
        process.start();
    }
    let mut seen = Vec::new();
    for (process, death) in killed.iter().zip(deaths) {
        seen.push(followed(process, death?, "was killed"));
    }
    Ok(Effect {
        since: since.unwrap_or_else(Instant::now),
        seen: seen.join("; "),
        away: killed.iter().map(|process| process.name.clone()).collect(),
    })
}

/// Kill -9 and a new process, again and again, each time before it has settled.
pub(super) async fn restart_often(process: &Shared) -> anyhow::Result<Effect> {
    let mut process = process.lock().await;
    let since = Instant::now();
    for time in 0..RESTARTS {
        process.kill()?;
        process.start();
        sleep(RESTART_PAUSE * (1 + time % 4)).await;
    }
    Ok(Effect {
        since,
        seen: format!("{} was killed and started {RESTARTS} times", process.name),
        away: vec![process.name.clone()],
    })
}

/// SIGTERM, and a new process when the time is over.
pub(super) async fn terminate(process: &Shared, lasts: Duration) -> anyhow::Result<Effect> {
    let mut process = process.lock().await;
    let (since, pid) = (Instant::now(), process.pid());
    let ended = process.terminate().await;
    sleep(lasts).await;
    process.start();
    ended?;
    Ok(Effect {
        since,
        seen: followed(&process, pid, "ended with exit code 0"),
        away: vec![process.name.clone()],
    })
}

/// SIGSTOP, and SIGCONT when the time is over.
pub(super) async fn pause(process: &Shared, lasts: Duration) -> anyhow::Result<Effect> {
    let process = process.lock().await;
    let paused = process.pause().await;
    let since = Instant::now();
    if paused.is_ok() {
        sleep(lasts).await;
    }
    let was_stopped = process.is_stopped();
    process.resume()?;
    paused?;
    ensure!(was_stopped, "{} went on too early", process.name);
    Ok(Effect {
        since,
        seen: format!("{} was stopped", process.name),
        away: vec![process.name.clone()],
    })
}

fn followed(process: &Process, before: Option<u32>, how: &str) -> String {
    let pid = |pid: Option<u32>| pid.unwrap_or_default();
    format!(
        "{}, process {}, {how}; {} follows",
        process.name,
        pid(before),
        pid(process.pid())
    )
}
