//! The stream's leader, and its step-down.

use std::time::Instant;

use anyhow::{Context, ensure};
use async_nats::jetstream;
use serde_json::Value;
use testbed::within;

use super::{Effect, RECOVERY_LIMIT};
use crate::world::World;

pub(super) async fn step_down_stream(world: &World, target: usize) -> anyhow::Result<Effect> {
    let stream = world.outbox_of(target).service.stream;
    let client = async_nats::connect(world.nats_urls.as_slice()).await?;
    let context = jetstream::new(client.clone());
    let leader = || async {
        let stream = context.get_stream(stream).await?;
        let cluster = stream.cached_info().cluster.as_ref();
        cluster
            .and_then(|cluster| cluster.leader.clone())
            .context("it has none")
    };
    let before = within(RECOVERY_LIMIT, "the stream has a leader", leader).await?;
    let since = Instant::now();
    let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
    let answer = client.request(subject, "".into()).await?;
    let answer: Value = serde_json::from_slice(&answer.payload).context("the answer")?;
    ensure!(answer["error"].is_null(), "{}", answer["error"]);
    let another = || async {
        let leader = leader().await?;
        ensure!(leader != before, "{leader} still leads");
        Ok(leader)
    };
    let after = within(RECOVERY_LIMIT, "the stream has another leader", another).await?;
    Ok(Effect {
        since,
        seen: format!("{after} followed {before} in {stream}"),
        away: Vec::new(),
    })
}
