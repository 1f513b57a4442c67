//! The primary and its step-down, and an oplog that is too short for a pause of the publisher.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bson::{Binary, Document, Timestamp, doc, spec::BinarySubtype};
use mongodb::{Database, options::WriteConcern};
use testbed::within;
use tokio::time::sleep;

use super::{Effect, RECOVERY_LIMIT, find, publisher};
use crate::world::{Shared, World};

/// The server cuts its oplog when it gets to it.
const FILL_LIMIT: Duration = Duration::from_secs(30);
/// What the publisher asked last waits for a second at the server, and reads along so long.
const LONGEST_AWAIT: Duration = Duration::from_millis(1_100);

fn admin(world: &World) -> Database {
    world.database.client().database("admin")
}

pub(super) async fn primary(world: &World) -> anyhow::Result<Shared> {
    let found = || async {
        let asked = doc! { "serverStatus": 1 };
        let pid = admin(world).run_command(asked).await?.get_i64("pid")?;
        find(&world.mongo, pid.try_into()?).await
    };
    within(RECOVERY_LIMIT, "there is a primary", found).await
}

pub(super) async fn step_down_primary(world: &World) -> anyhow::Result<Effect> {
    // Each election has its own id.
    let election = || async {
        let hello = admin(world).run_command(doc! { "hello": 1 }).await?;
        ensure!(hello.get_bool("isWritablePrimary")?, "there is no primary");
        Ok(hello.get_object_id("electionId")?)
    };
    let before = within(RECOVERY_LIMIT, "there is a primary", election).await?;
    let command = doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 1, "force": true };
    let since = Instant::now();
    admin(world).run_command(command).await?;
    let another = || async {
        let election = election().await?;
        ensure!(election != before, "there was no election");
        Ok(election)
    };
    let after = within(RECOVERY_LIMIT, "a primary is elected", another).await?;
    Ok(Effect {
        since,
        seen: format!("election {after} followed {before}"),
        away: Vec::new(),
    })
}

/// Writes more than the oplog holds while the publisher is paused. No member may be away meanwhile: it would
/// have to be copied anew.
pub(super) async fn lose_history(world: &World, target: usize) -> anyhow::Result<Effect> {
    let publisher = publisher(world, target).await?;
    let mut members = Vec::new();
    for member in &world.mongo {
        members.push(Arc::clone(member).lock_owned().await);
    }
    let publisher = publisher.lock().await;
    let each_is_there = || async { is_whole(&admin(world)).await };
    within(RECOVERY_LIMIT, "each member is there", each_is_there).await?;
    let since = Instant::now();
    let filled = match publisher.pause().await {
        Ok(()) => {
            sleep(LONGEST_AWAIT).await;
            fill(world).await
        }
        Err(error) => Err(error),
    };
    publisher.resume()?;
    let (seen, oldest) = filled?;
    Ok(Effect {
        since,
        seen: format!("the oplog begins at {oldest}, past what the publisher saw, {seen}"),
        away: vec![publisher.name.clone()],
    })
}

/// Each member is the primary or a secondary: none recovers, starts or is away.
///
/// # Errors
/// When it is not so.
async fn is_whole(admin: &Database) -> anyhow::Result<()> {
    let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await?;
    let members = status.get_array("members")?;
    let states: Vec<_> = members
        .iter()
        .filter_map(|member| member.as_document()?.get_str("stateStr").ok())
        .collect();
    let is = |state: &str| states.iter().filter(|is| **is == state).count();
    ensure!(
        is("PRIMARY") == 1 && is("PRIMARY") + is("SECONDARY") == members.len(),
        "the members are {states:?}"
    );
    Ok(())
}

/// Fills the oplog until the newest entry of before is no longer its oldest, nor behind it; that entry, and the oldest.
async fn fill(world: &World) -> anyhow::Result<(Timestamp, Timestamp)> {
    const MIB: usize = 1024 * 1024;
    let filler = world.database.collection::<Document>("filler");
    // All of them: one that falls behind an oplog as short as this one would have to be copied anew.
    let members = u32::try_from(world.mongo.len())?;
    let bytes = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; MIB],
    };
    let seen = entry(world, -1).await?;
    let deadline = Instant::now() + FILL_LIMIT;
    let oldest = loop {
        // An error says that the oldest was cut off while it was read.
        if let Ok(oldest) = entry(world, 1).await
            && oldest > seen
        {
            break oldest;
        }
        ensure!(Instant::now() < deadline, "the oplog still reaches back");
        let batch = (0..4).map(|_| doc! { "filler": &bytes });
        filler
            .insert_many(batch)
            .write_concern(WriteConcern::nodes(members))
            .await?;
    };
    filler.drop().await?;
    Ok((seen, oldest))
}

/// When the oldest (1) or the newest (-1) entry of the primary's oplog was written.
async fn entry(world: &World, order: i32) -> anyhow::Result<Timestamp> {
    let local = world.database.client().database("local");
    let oplog = local.collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).sort(doc! { "$natural": order });
    Ok(entry
        .await?
        .context("the oplog is empty")?
        .get_timestamp("ts")?)
}
