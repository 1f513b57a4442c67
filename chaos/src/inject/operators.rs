//! What operators do with the program's own commands while all goes on.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use testbed::within;

use super::{Effect, Log, poison};
use crate::world::World;

/// The servers may be away, and the window for copies has to pass.
const LIMIT: Duration = Duration::from_secs(90);

/// Every parked event gets another try, which is in vain.
pub(super) async fn retry(world: &World, log: &Log) -> anyhow::Result<Effect> {
    poison::too_large(world, log).await?;
    let since = Instant::now();
    let retry = ["retry", "--all-parked"];
    let said = within(LIMIT, "parked events are tried again", || {
        world.outbox(&retry)
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
    within(LIMIT, "a parked event is skipped", || world.outbox(&skip)).await?;
    Ok(Effect {
        since,
        seen: format!("{id} was skipped"),
        away: Vec::new(),
    })
}

/// Nothing is lost, and nothing is published again.
pub(super) async fn replay(world: &World) -> anyhow::Result<Effect> {
    let since = Instant::now();
    let found = replayed(world, &[]).await?;
    let lost = found["lost"].as_array().map_or(0, Vec::len);
    Ok(Effect {
        since,
        seen: format!(
            "{} events were looked at, {lost} were lost",
            found["checked"]
        ),
        away: Vec::new(),
    })
}

/// Looks for what the stream has lost, and has it published again.
pub(super) async fn replayed(world: &World, more: &[&str]) -> anyhow::Result<Value> {
    let replay = [&["replay", "--since", "1h"], more].concat();
    within(LIMIT, "what was lost is published again", || {
        world.outbox(&replay)
    })
    .await
}
