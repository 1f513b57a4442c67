//! What the stream loses on purpose: the messages of a key, or all. The operator has them published again.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_nats::jetstream;
use bson::{Document, doc};
use testbed::within;

use super::{
    Effect, Log, RECOVERY_LIMIT,
    operators::{LIMIT, restore},
};
use crate::world::{Outbox, World};

/// The publisher makes the stream anew where there is none.
const MADE_ANEW_LIMIT: Duration = Duration::from_secs(30);

async fn context(world: &World) -> anyhow::Result<jetstream::Context> {
    let client = async_nats::connect(world.nats_urls.as_slice()).await?;
    Ok(jetstream::new(client))
}

/// The messages of one key are purged, and published again.
pub(super) async fn purge_key(world: &World, target: usize, log: &Log) -> anyhow::Result<Effect> {
    let context = context(world).await?;
    let outbox = world.outbox_of(target);
    let Outbox {
        service, database, ..
    } = outbox;
    let events = database.collection::<Document>("events");
    let sent = || async {
        let sent = doc! { "sent": "YES", "version": 0 };
        // One of the first: tickets change those most.
        let skip = target as u64 % 3 * 3;
        let sent = events.find_one(sent).sort(doc! { "_id": 1 }).skip(skip);
        let key = sent.await?.context("nothing was sent yet")?;
        Ok(key.get_str("key")?.to_owned())
    };
    let key = within(RECOVERY_LIMIT, "a key has messages", sent).await?;
    let loss = log.lose(service.stream, Some(&key));
    let since = Instant::now();
    let purged = within(RECOVERY_LIMIT, "a key is purged", || async {
        let stream = context.get_stream(service.stream).await?;
        Ok(stream
            .purge()
            .filter(format!("{}.*.{key}", service.noun))
            .await?
            .purged)
    })
    .await;
    log.has_taken(service.stream, loss, &purged);
    let purged = purged?;
    let lost = restore(outbox, &["--key", &key], LIMIT).await?;
    ensure!(purged > 0, "{key} had no message");
    Ok(Effect {
        since,
        seen: format!(
            "{purged} messages of {} {key} were purged, {lost} published again",
            service.noun
        ),
        away: Vec::new(),
    })
}

/// The stream is deleted; the service makes it anew, and all that was sent is published again.
pub(super) async fn lose(world: &World, target: usize, log: &Log) -> anyhow::Result<Effect> {
    let context = context(world).await?;
    let outbox = world.outbox_of(target);
    let name = outbox.service.stream;
    let before = within(RECOVERY_LIMIT, "the stream is there", || async {
        let stream = context.get_stream(name).await?;
        Ok(stream.cached_info().created)
    })
    .await?;
    let since = Instant::now();
    let loss = log.lose(name, None);
    let made_anew = async {
        within(RECOVERY_LIMIT, "the stream is deleted", || async {
            Ok(context.delete_stream(name).await?)
        })
        .await?;
        within(MADE_ANEW_LIMIT, "the stream is made anew", || async {
            let stream = context.get_stream(name).await?;
            ensure!(stream.cached_info().created != before, "it is the same");
            Ok(())
        })
        .await
    };
    let made_anew = made_anew.await;
    log.has_taken(name, loss, &made_anew);
    made_anew?;
    let was_away = since.elapsed();
    let lost = restore(outbox, &[], LIMIT).await?;
    Ok(Effect {
        since,
        seen: format!("{name} was away for {was_away:.1?}; {lost} events were published again"),
        away: vec![
            "nats-0".to_owned(),
            "nats-1".to_owned(),
            "nats-2".to_owned(),
        ],
    })
}
