//! The outbox without HTTP: a document is saved together with the event that announces it, and the event is published.
//!
//! `make services`, then `cargo run -p messaging --example minimal`.

use std::{convert::Infallible, time::Duration};

use anyhow::Context;
use bson::{doc, oid::ObjectId};
use db::{Abort, Db, setting::options};
use futures_util::StreamExt;
use messaging::{EventType, JetStream, Metadata, Outbox, Publisher, Timing};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const CREATED: EventType = EventType::of::<Value>("counter.created");
const RETENTION: Duration = Duration::from_secs(3600);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mongo = options(["--mongo-uri=mongodb://127.0.0.1:27017/minimal?replicaSet=rs0"])?;
    let db = Db::connect(&mongo, "minimal", db::Timing::default()).await?;
    let outbox = Outbox::new(&db);
    db.ensure_collection("counters", []).await?;
    outbox.prepare(RETENTION).await?;
    db.mark_prepared();

    let nats = options(["--nats-url=nats://127.0.0.1:4222", "--nats-stream=MINIMAL"])?;
    let jetstream = JetStream::connect(&nats, "minimal", &[CREATED], Timing::default()).await?;
    let mut messages = jetstream.client().subscribe("counter.created.*").await?;
    let publisher = Publisher::new(&outbox, jetstream, RETENTION);
    let stop = CancellationToken::new();
    let publishing = tokio::spawn(publisher.run(stop.clone()));

    // The closure may run more than once, so the event's id and time are made before it.
    let (key, payload) = (ObjectId::new().to_hex(), doc! { "value": 1 });
    let event = CREATED.event(Metadata::now(), key, 0, &payload)?;
    let context = (db.clone(), outbox, event);
    let saved = db.transaction(context, |session, (db, outbox, event)| {
        Box::pin(async move {
            let counter = doc! { "_id": &event.key, "value": 1 };
            let counters = db.collection("counters");
            counters.insert_one(counter).session(&mut *session).await?;
            outbox.record(session, event).await?;
            Ok::<(), Abort<Infallible>>(())
        })
    });
    saved.await?;

    let message = messages.next().await.context("NATS has ended it")?;
    let payload = String::from_utf8_lossy(&message.payload);
    println!("{}: {payload}", message.subject);
    stop.cancel();
    publishing.await?
}
