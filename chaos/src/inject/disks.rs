//! A disk that is full for a while: MongoDB ends then; JetStream refuses, or turns itself off, until it is started again.

use std::time::{Duration, Instant};

use anyhow::Context;
use testbed::Mount;
use tokio::time::sleep;

use super::Effect;
use crate::{schedule::Planned, world::Shared};

const BACK_AFTER: Duration = Duration::from_millis(300);

/// Why it can't be done here; none where it can.
pub(crate) fn impossible() -> Option<String> {
    let folder = std::env::temp_dir().join(format!("chaos-disk-{}", std::process::id()));
    let tried = Mount::new(&folder, 1).map(drop);
    drop(std::fs::remove_dir(&folder));
    tried.err().map(|error| format!("{error:#}"))
}

/// An operator makes room, and starts the server again.
pub(super) async fn fill(
    disk: Option<&Mount>,
    process: &Shared,
    planned: &Planned,
) -> anyhow::Result<Effect> {
    let disk = disk.context("it has no disk of its own")?;
    let mut process = process.lock().await;
    let bytes = disk.fill()?;
    let since = Instant::now();
    // What goes free meanwhile is filled again.
    let until = since + planned.lasts;
    while Instant::now() < until {
        sleep(BACK_AFTER).await;
        drop(disk.fill());
    }
    disk.free()?;
    let seen = format!(
        "{bytes} bytes were all that was left of {}'s disk; it was started again",
        process.name
    );
    // It may have ended, or be about to; or it keeps an error that it tells of minutes later.
    drop(process.kill());
    process.start();
    Ok(Effect {
        since,
        seen,
        away: vec![process.name.clone()],
    })
}
