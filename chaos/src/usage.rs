//! What instances and the harness hold: memory, handles, connections. Where one quarter of a run has more of them than the one before, something leaks.

use std::{fmt, fs, iter, path::PathBuf, slice, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use crate::{clock::Clock, world::World};

/// Rare enough to cost the processes nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Of all, at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Look {
    pub(crate) at_ms: u64,
    pub(crate) of: Vec<Usage>,
}

/// Of one process, at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    pub(crate) name: String,
    pub(crate) memory_mb: u64,
    pub(crate) handles: usize,
    /// Of the handles, those that are sockets.
    pub(crate) connections: usize,
    pub(crate) threads: u64,
}

/// Looks again and again, for as long as anybody wants to know.
pub(crate) async fn watch(world: Arc<World>, clock: Clock, looks: mpsc::UnboundedSender<Look>) {
    let mut ticks = interval(LOOK_INTERVAL);
    // An instance that a fault works on is locked for seconds.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let of = of_all(&world).await;
        let at_ms = clock.now_ms();
        if looks.send(Look { at_ms, of }).is_err() {
            return;
        }
    }
}

/// How much each held: in the beginning, at most in each quarter of the time between, and in the end.
pub(crate) fn table(looks: &[Look]) -> Vec<Row> {
    let [first, between @ .., last] = looks else {
        return Vec::new();
    };
    let at = |quarter: usize| between.len() * quarter / 4;
    let quarters = (0..4).map(|quarter| &between[at(quarter)..at(quarter + 1)]);
    let parts: Vec<&[Look]> = iter::once(slice::from_ref(first))
        .chain(quarters)
        .chain([slice::from_ref(last)])
        .collect();
    let names = first.of.iter().map(|usage| &usage.name);
    let row = |(name, what): (&str, &'static str), amount: fn(&Usage) -> u64| {
        let of = |looks: &&[Look]| {
            let all = looks.iter().flat_map(|look| &look.of);
            let own = all.filter(|usage| usage.name == name);
            own.map(amount).max()
        };
        Row {
            name: name.to_owned(),
            what,
            amounts: parts.iter().map(of).collect(),
        }
    };
    let rows = |name: &String| {
        [
            row((name, "MB"), |usage| usage.memory_mb),
            row((name, "handles"), |usage| usage.handles as u64),
            row((name, "connections"), |usage| usage.connections as u64),
            row((name, "threads"), |usage| usage.threads),
        ]
    };
    names.flat_map(rows).collect()
}

/// What one process held of one thing. None where it did not run.
pub(crate) struct Row {
    name: String,
    what: &'static str,
    amounts: Vec<Option<u64>>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} {:<11}", self.name, self.what)?;
        for amount in &self.amounts {
            let amount = amount.map_or_else(|| "-".to_owned(), |amount| amount.to_string());
            write!(f, " {amount:>7}")?;
        }
        Ok(())
    }
}

/// Of every instance that runs, and of this process.
async fn of_all(world: &World) -> Vec<Usage> {
    let mut all = Vec::new();
    for instance in &world.instances {
        let instance = instance.lock().await;
        if let Some(pid) = instance.pid() {
            all.extend(of(&instance.name, pid));
        }
    }
    all.extend(of("chaos", std::process::id()));
    all
}

/// As the kernel tells it; none of a process that has just ended.
fn of(name: &str, pid: u32) -> Option<Usage> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let status = fs::read_to_string(process.join("status")).ok()?;
    let number = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let handles = fs::read_dir(process.join("fd")).ok()?.flatten();
    let handles = handles.filter_map(|handle| fs::read_link(handle.path()).ok());
    let handles: Vec<PathBuf> = handles.collect();
    let is_socket = |handle: &&PathBuf| handle.to_string_lossy().starts_with("socket:");
    Some(Usage {
        name: name.to_owned(),
        memory_mb: number("VmRSS:")? / 1024,
        connections: handles.iter().filter(is_socket).count(),
        handles: handles.len(),
        threads: number("Threads:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_shows_in_the_quarters_of_a_run() {
        let look = |memory_mb: u64| {
            let mut of = of("tests", std::process::id()).unwrap();
            (of.name, of.memory_mb) = ("one".to_owned(), memory_mb);
            let of = vec![of];
            Look { at_ms: 0, of }
        };
        let mut looks: Vec<Look> = (1..=10).map(look).collect();
        looks[9].of.clear();
        let rows = table(&looks);
        assert_eq!(rows.len(), 4);
        assert_eq!(
            rows[0].to_string(),
            "one          MB                1       3       5       7       9       -"
        );
        assert_eq!(
            table(&looks[..7])[0].to_string(),
            "one          MB                1       2       3       4       6       7"
        );
        assert!(table(&looks[..1]).is_empty());
    }

    #[test]
    fn a_process_tells_what_it_holds() {
        let before = of("tests", std::process::id()).unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let after = of("tests", std::process::id()).unwrap();
        drop(socket);
        assert!(after.connections > 0 && after.handles > after.connections);
        assert!(before.memory_mb > 0 && before.threads > 0);
    }
}
