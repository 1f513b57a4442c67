//! Events that can never be published.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId};
use mongodb::error::ErrorKind;
use testbed::within;

use super::{Effect, Log, RECOVERY_LIMIT};
use crate::{domain::CHANGED, world::World};

/// More than JetStream's default for a message.
const TOO_LARGE: usize = 2 * 1024 * 1024;
/// The publisher may have to wait for NATS, which other faults keep away.
const PARKING_LIMIT: Duration = Duration::from_secs(60);

/// Two events of a key of its own: one that is too large, and one behind it that must be held back.
pub(super) async fn plant(world: &World, log: &Log) -> anyhow::Result<Effect> {
    let id = too_large(world, log).await?;
    Ok(Effect {
        since: Instant::now(),
        seen: format!("{id} was parked"),
        away: Vec::new(),
    })
}

/// The same; the id of the one that is too large, when it is parked.
pub(super) async fn too_large(world: &World, log: &Log) -> anyhow::Result<String> {
    let key = format!("planted-{:08x}", fastrand::u32(..));
    let too_large = doc! { "planted": "x".repeat(TOO_LARGE) };
    let planted = [
        event(&key, 0, too_large),
        event(&key, 1, doc! { "planted": "behind" }),
    ];
    let id = planted[0].get_object_id("_id")?;
    let events = world.database.collection::<Document>("events");
    for event in &planted {
        let id = event.get_object_id("_id")?;
        log.plant(id.to_hex());
        let id = doc! { "_id": id };
        // A database that is away is back soon.
        within(RECOVERY_LIMIT, "an event is planted", || async {
            let insert = doc! { "$setOnInsert": event };
            Ok(events.update_one(id.clone(), insert).upsert(true).await?)
        })
        .await?;
    }
    are_parked(world, &[id]).await?;
    Ok(id.to_hex())
}

/// One of each kind that testbed knows. They are planted once; after that they are tried again.
pub(super) async fn of_each_kind(world: &World, log: &Log) -> anyhow::Result<Effect> {
    let since = Instant::now();
    let (noun, _) = CHANGED.split_once('.').context("a type has two words")?;
    let events = world.database.collection::<RawDocumentBuf>("events");
    let (mut ids, mut again) = (Vec::new(), 0);
    for (_, event) in testbed::poison(noun) {
        let id = event.get_object_id("_id")?;
        log.plant(id.to_hex());
        let is_new = within(RECOVERY_LIMIT, "an event is planted", || async {
            match events.insert_one(&event).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => {
                    let found = events.find_one(doc! { "_id": id }).await?;
                    Ok(found.is_some())
                }
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        if is_new {
            ids.push(id);
        } else {
            again += 1;
        }
    }
    are_parked(world, &ids).await?;
    if again > 0 {
        let retry = ["retry", "--all-parked"];
        world.outbox().command(&retry).await?;
        is_parked(world).await?;
    }
    Ok(Effect {
        since,
        seen: format!(
            "{} kinds of poison were parked, {again} were there already",
            ids.len()
        ),
        away: Vec::new(),
    })
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    let ErrorKind::Write(mongodb::error::WriteFailure::WriteError(error)) = &*error.kind else {
        return false;
    };
    error.code == 11_000
}

/// Waits until each is parked.
async fn are_parked(world: &World, ids: &[ObjectId]) -> anyhow::Result<()> {
    let parked = world.database.collection::<Document>("parked");
    within(
        PARKING_LIMIT,
        "what can't be published is parked",
        || async {
            let waits = doc! { "_id": { "$in": ids }, "state": null };
            let count = parked.count_documents(waits).await?;
            ensure!(count == ids.len() as u64, "{count} of {} are", ids.len());
            Ok(())
        },
    )
    .await
}

/// Waits until nothing that was given another try is under way.
pub(super) async fn is_parked(world: &World) -> anyhow::Result<()> {
    let parked = world.database.collection::<Document>("parked");
    within(
        PARKING_LIMIT,
        "what was tried again is parked again",
        || async {
            let tried = parked.count_documents(doc! { "state": "retried" }).await?;
            ensure!(tried == 0, "{tried} are tried");
            Ok(())
        },
    )
    .await
}

/// An event that can never be published, as the service would record it; `data` is what is wrong with it.
fn event(key: &str, version: i64, data: Document) -> Document {
    doc! {
        "_id": ObjectId::new(), "type": CHANGED, "subject": format!("{}.{key}", CHANGED),
        "key": key, "version": version, "data": data, "sent": "NO", "createdAt": DateTime::now(),
    }
}
