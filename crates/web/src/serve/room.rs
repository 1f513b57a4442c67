//! How many connections there is room for: each takes one of the files that the system lets the process open.

use std::{sync::Mutex, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;

/// For what else is open: connections to MongoDB and NATS above all.
const OTHER_FILES: u64 = 192;
/// Whoever has asked for nothing for so long may be asked to go.
const LEAST_IDLE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Lets the process open as many files as the system allows it; the default is less, for the sake of old programs.
pub fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// How many connections there is room for, where so many files may be open.
fn most(files: u64) -> u64 {
    files.saturating_sub(OTHER_FILES).max(files / 2)
}

/// Asks connections that are idle to close where others want in.
pub(super) struct Room {
    connections: u64,
    longest_idle: Duration,
    idle_ones_go: watch::Sender<Duration>,
    told: Mutex<Option<Instant>>,
}

impl Room {
    /// No connection is idle for longer than `longest_idle`.
    pub(super) fn new(longest_idle: Duration) -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            connections: most(files),
            longest_idle,
            idle_ones_go: watch::Sender::new(longest_idle),
            told: Mutex::default(),
        }
    }

    /// Tells for how long a connection may be idle at the moment, each time that it is less.
    pub(super) fn idle_ones_go(&self) -> watch::Receiver<Duration> {
        self.idle_ones_go.subscribe()
    }

    /// Returns when there is room for one more; those that are idle longest make it.
    pub(super) async fn for_one_more(&self, connections: &TaskTracker) {
        let mut idle = self.longest_idle;
        while connections.len() as u64 >= self.connections {
            idle = (idle / 2).max(LEAST_IDLE);
            self.make(idle).await;
        }
    }

    /// The system says that no more files can be opened.
    pub(super) async fn is_short(&self) {
        self.make(LEAST_IDLE).await;
    }

    async fn make(&self, idle: Duration) {
        if let Ok(mut told) = self.told.lock()
            && told.is_none_or(|told| told.elapsed() >= TELL_AGAIN)
        {
            *told = Some(Instant::now());
            let most = self.connections;
            tracing::warn!(
                most,
                "no room for more connections: idle ones are closed, others wait; raise the limit of open files"
            );
        }
        self.idle_ones_go.send_replace(idle);
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_files_192_are_kept_for_the_stores_or_half_where_there_are_few() {
        assert_eq!(most(1_024), 1_024 - 192);
        assert_eq!(most(2 * 192), 192);
        assert_eq!(most(64), 32);
    }
}
