//! The outbox without HTTP: a document is saved together with the event that announces it, and the event is published.
//!
//! `make services`, then `cargo run -p messaging --example minimal`.

use std::{convert::Infallible, time::Duration};

use anyhow::Context;
use bson::{doc, oid::ObjectId, rawdoc};
use clap::Parser;
use db::{Abort, Db, MongoOptions};
use futures_util::StreamExt;
use messaging::{Event, EventType, JetStream, Metadata, NatsOptions, Outbox, Publisher, Timing};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::Schema;

const EVENTS: &[EventType] = &[EventType {
    name: "counter.created",
    schema: || Schema::default().into(),
}];
const RETENTION: Duration = Duration::from_secs(3600);

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    mongo: MongoOptions,
    #[command(flatten)]
    nats: NatsOptions,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Options { mongo, nats } = Options::parse_from([
        "minimal",
        "--mongo-uri=mongodb://127.0.0.1:27017/minimal?replicaSet=rs0",
        "--nats-url=nats://127.0.0.1:4222",
        "--nats-stream=MINIMAL",
    ]);
    let db = Db::connect(&mongo, "minimal", db::Timing::default()).await?;
    let outbox = Outbox::new(&db);
    db.ensure_collection("counters", []).await?;
    outbox.prepare(RETENTION).await?;
    db.mark_prepared();

    let jetstream = JetStream::connect(&nats, "minimal", EVENTS, Timing::default()).await?;
    let client = jetstream.client().clone();
    let publisher = Publisher::new(&outbox, jetstream, RETENTION);
    let stop = CancellationToken::new();
    let publishing = tokio::spawn(publisher.run(stop.clone()));

    let mut heard = client.subscribe("counter.created.*").await?;
    // What the closure makes twice must be the same twice: id and time are made outside of it.
    let (key, data) = (ObjectId::new().to_hex(), rawdoc! { "value": 1 });
    let event = Event::new(Metadata::now(), "counter.created", key.clone(), 0, data);
    let context = (db.clone(), outbox, key, event);
    let saved = db.transaction(context, |session, (db, outbox, key, event)| {
        Box::pin(async move {
            let counter = doc! { "_id": key, "value": 1 };
            let counters = db.collection("counters");
            counters.insert_one(counter).session(&mut *session).await?;
            outbox.record(session, event).await?;
            Ok::<(), Abort<Infallible>>(())
        })
    });
    saved.await?;

    let message = heard.next().await.context("the connection to NATS ended")?;
    println!(
        "{}: {}",
        message.subject,
        String::from_utf8_lossy(&message.payload)
    );
    stop.cancel();
    publishing.await?
}
