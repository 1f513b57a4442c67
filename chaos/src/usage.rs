//! What instances and the harness hold: memory, handles, connections. Where a run leaves more of them than it began with, something leaks.

use std::{fs, path::PathBuf};

use serde::Serialize;

use crate::world::World;

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

/// Of every instance that runs, and of this process.
pub(crate) async fn of_all(world: &World) -> Vec<Usage> {
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
    fn a_process_tells_what_it_holds() {
        let before = of("tests", std::process::id()).unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let after = of("tests", std::process::id()).unwrap();
        drop(socket);
        assert!(after.connections > 0 && after.handles > after.connections);
        assert!(before.memory_mb > 0 && before.threads > 0);
    }
}
