//! The least that publishing can cost: a relay that is given each event in memory by the writer that saved it, and a drain that keeps the
//! order of each key.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream;
use bson::{Document, doc, oid::ObjectId};
use futures_util::{StreamExt, TryStreamExt, future::OptionFuture, stream::FuturesUnordered};
use mongodb::Database;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

use crate::{
    load::{self, Load},
    raw::{self, Headers, documents},
};

/// As long as the service lets marks wait for others.
const MARK_DELAY: Duration = Duration::from_millis(10);
const MARK: usize = 1_000;
const KEYS_AT_ONCE: usize = 512;

/// Publishes what it is given, and marks it.
pub(crate) struct Relay {
    pub(crate) events: mpsc::UnboundedSender<Document>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Relay {
    pub(crate) fn start(database: &Database, jetstream: jetstream::Context) -> Self {
        let (events, saved) = mpsc::unbounded_channel();
        let running = tokio::spawn(relay(database.clone(), jetstream, saved));
        Self { events, running }
    }

    /// Waits until everything is published and marked.
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        drop(self.events);
        self.running.await?
    }
}

async fn relay(
    database: Database,
    jetstream: jetstream::Context,
    mut saved: mpsc::UnboundedReceiver<Document>,
) -> anyhow::Result<()> {
    let (mut acks, mut acked) = (FuturesUnordered::new(), Vec::new());
    let (mut marks, mut due, mut has_ended) = (FuturesUnordered::new(), None, false);
    while !has_ended || !acks.is_empty() || !acked.is_empty() || !marks.is_empty() {
        let is_due = OptionFuture::from(due.map(sleep_until));
        tokio::select! {
            event = saved.recv(), if !has_ended => match event {
                None => has_ended = true,
                Some(event) => {
                    let ack = published(&jetstream, &event, Headers::Whole).await?;
                    acks.push(ack);
                }
            },
            Some(ack) = acks.next() => {
                acked.push(ack?);
                due.get_or_insert_with(|| Instant::now() + MARK_DELAY);
            }
            Some(marked) = marks.next() => marked?,
            Some(()) = is_due => {
                due = None;
                marks.push(raw::mark(&database, std::mem::take(&mut acked)));
            }
        }
    }
    Ok(())
}

/// Sends an event; the event's id when it is acknowledged.
async fn published(
    jetstream: &jetstream::Context,
    event: &Document,
    of: Headers,
) -> anyhow::Result<impl Future<Output = anyhow::Result<ObjectId>> + use<>> {
    let (id, headers) = (event.get_object_id("_id")?, raw::headers(event, of)?);
    let payload = serde_json::to_vec(event.get_document("data")?)?;
    let subject = event.get_str("subject")?.to_owned();
    let ack = jetstream.publish_with_headers(subject, headers, payload.into());
    let ack = ack.await?.into_future();
    Ok(async move { Ok(ack.await.map(|_| id)?) })
}

/// One writer of ticket and event, whose events are published and marked as they are saved.
pub(crate) async fn one_writer(
    database: &Database,
    jetstream: jetstream::Context,
    lasts: Duration,
) -> anyhow::Result<Load> {
    let relay = Relay::start(database, jetstream);
    let state = (database.clone(), relay.events.clone());
    let written = load::run(vec![state], lasts, |(database, events)| async move {
        let (ticket, event) = documents(ObjectId::new(), 0, "NO");
        raw::transaction(&database, &ticket, &event).await?;
        events.send(event)?;
        Ok((database, events))
    })
    .await?;
    relay.finish().await?;
    Ok(written)
}

/// Publishes and marks all that is unsent, each event of a key after the acknowledgement of the one before: a cursor for each key, 512 keys
/// at once, marks of 1,000. Events a second.
pub(crate) async fn drain_in_order(
    database: &Database,
    jetstream: &jetstream::Context,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let events = database.collection::<Document>("events");
    let keys = events.distinct("key", doc! { "sent": "NO" }).await?;
    let room = std::sync::Arc::new(Semaphore::new(KEYS_AT_ONCE));
    let (acked, mut to_mark) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for key in keys {
        let key = key.as_str().context("a key is a text")?.to_owned();
        let (database, jetstream) = (database.clone(), jetstream.clone());
        let (room, acked) = (room.clone(), acked.clone());
        tasks.spawn(async move {
            let _room = room.acquire().await?;
            let events = database.collection::<Document>("events");
            let of_key = events.find(doc! { "sent": "NO", "key": key });
            let mut of_key = of_key.sort(doc! { "version": 1, "_id": 1 }).await?;
            while let Some(event) = of_key.try_next().await? {
                acked.send(published(&jetstream, &event, Headers::Id).await?.await?)?;
            }
            anyhow::Ok(())
        });
    }
    drop(acked);
    let (mut done, mut batch) = (0, Vec::with_capacity(MARK));
    while to_mark.recv_many(&mut batch, MARK).await > 0 {
        while batch.len() < MARK && to_mark.recv_many(&mut batch, MARK).await > 0 {}
        done += batch.len();
        raw::mark(database, std::mem::take(&mut batch)).await?;
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(f64::from(u32::try_from(done)?) / began.elapsed().as_secs_f64())
}
