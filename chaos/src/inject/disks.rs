//! A disk that is full for a while: MongoDB ends then, JetStream refuses, or turns itself off until it is started again.

use std::time::{Duration, Instant};

use anyhow::Context;
use testbed::Mount;
use tokio::time::sleep;

use super::Effect;
use crate::{schedule::Planned, world::Shared};

/// How JetStream says that it has given up, or one of its streams.
const GIVES_UP: [&str; 3] = [
    "JetStream out of",
    "Disabling JetStream",
    "Critical write error",
];
const BACK_AFTER: Duration = Duration::from_millis(300);

/// Why it can't be done here; none where it can.
pub(crate) fn impossible() -> Option<String> {
    let folder = std::env::temp_dir().join(format!("chaos-disk-{}", std::process::id()));
    let tried = Mount::new(&folder, 1).map(drop);
    drop(std::fs::remove_dir(&folder));
    tried.err().map(|error| format!("{error:#}"))
}

/// Whatever is started again afterwards is what an operator starts who has made room.
pub(super) async fn fill(
    disk: Option<&Mount>,
    process: &Shared,
    planned: &Planned,
) -> anyhow::Result<Effect> {
    let disk = disk.context("it has no disk of its own")?;
    let mut process = process.lock().await;
    let told_before = lines(process.log().as_str());
    let bytes = disk.fill()?;
    let since = Instant::now();
    // What goes free meanwhile is filled again.
    let until = since + planned.lasts;
    while Instant::now() < until {
        sleep(BACK_AFTER).await;
        drop(disk.fill());
    }
    disk.free()?;
    let mut seen = format!(
        "{bytes} bytes were all that was left of {}'s disk",
        process.name
    );
    if process.look() {
        seen += ", which ended it";
        process.start();
    } else if lines(process.log().as_str()) > told_before {
        seen += ", and it has to be started again";
        process.kill()?;
        process.start();
    }
    Ok(Effect {
        since,
        seen,
        away: vec![process.name.clone()],
    })
}

fn lines(log: &str) -> usize {
    let gives_up = |line: &&str| GIVES_UP.iter().any(|text| line.contains(text));
    log.lines().filter(gives_up).count()
}
