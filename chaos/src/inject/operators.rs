//! What operators do with the program's own commands while all goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use testbed::within;
use tokio::time::sleep;

use super::{Effect, Log, poison};
use crate::world::{Outbox, World};

/// The servers may be away, and the window for copies has to pass.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
const MOST_LOOKS: usize = 10;
/// Marks are written within this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Every parked event gets another try, which is in vain.
pub(super) async fn retry(world: &World, log: &Log) -> anyhow::Result<Effect> {
    poison::too_large(world, log).await?;
    let since = Instant::now();
    let retry = ["retry", "--all-parked"];
    let said = within(LIMIT, "parked events are tried again", || {
        world.outbox().command(&retry)
    })
    .await?;
    let retried = said["retried"].as_u64().filter(|retried| *retried > 0);
    let retried = retried.context("none was")?;
    poison::is_parked(world).await?;
    Ok(Effect {
        since,
        seen: format!("{retried} parked events were tried again"),
        away: Vec::new(),
    })
}

/// One parked event is given up, and what waits behind it is published.
pub(super) async fn skip(world: &World, log: &Log) -> anyhow::Result<Effect> {
    let id = poison::too_large(world, log).await?;
    let since = Instant::now();
    let skip = ["skip", id.as_str(), "--reason", "chaos"];
    let outbox = world.outbox();
    within(LIMIT, "a parked event is skipped", || outbox.command(&skip)).await?;
    Ok(Effect {
        since,
        seen: format!("{id} was skipped"),
        away: Vec::new(),
    })
}

/// Nothing is lost, and nothing is published again.
pub(super) async fn replay(outbox: &Outbox) -> anyhow::Result<Effect> {
    let since = Instant::now();
    let found = replayed(outbox, &[], LIMIT).await?;
    let lost = found["lost"].as_array().map_or(0, Vec::len);
    Ok(Effect {
        since,
        seen: format!(
            "{} events of {} were looked at, {lost} were lost",
            found["checked"], outbox.service.stream
        ),
        away: Vec::new(),
    })
}

/// Has published again what the stream has lost, until nothing is missing any more: what was acknowledged and not marked when it was lost
/// is marked later, and found by the next look. How many were published again.
pub(crate) async fn restore(
    outbox: &Outbox,
    more: &[&str],
    limit: Duration,
) -> anyhow::Result<usize> {
    let (mut restored, mut is_second_look) = (0, false);
    for _ in 0..MOST_LOOKS {
        let found = replayed(outbox, more, limit).await?;
        let lost = found["lost"].as_array().map_or(0, Vec::len);
        restored += lost;
        if lost == 0 && is_second_look {
            return Ok(restored);
        }
        is_second_look = lost == 0;
        sleep(LOOK_AGAIN_AFTER).await;
    }
    bail!("events are lost again and again")
}

async fn replayed(outbox: &Outbox, more: &[&str], limit: Duration) -> anyhow::Result<Value> {
    let replay = [&["replay", "--since", "2h"], more].concat();
    within(limit, "what was lost is published again", || {
        outbox.command(&replay)
    })
    .await
}
