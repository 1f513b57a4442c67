//! The inbox without HTTP: what `minimal` publishes is applied here, each message once, whatever crashes.
//!
//! `make services`, then `cargo run -p messaging --example minimal_consumer`, and in another terminal `--example minimal`.

use anyhow::Context;
use bson::{Document, doc};
use db::{Db, setting::options};
use futures_util::future::BoxFuture;
use messaging::{Consumer, Inbox, JetStream, Outcome, Received, Recent, Subscriber, Timing};
use mongodb::ClientSession;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
struct Counter {
    value: i64,
}

/// A handler works in the transaction that marks the message as applied.
fn add<'a>(
    session: &'a mut ClientSession,
    db: &'a Db,
    counter: &'a Received<Counter>,
) -> BoxFuture<'a, mongodb::error::Result<Outcome>> {
    Box::pin(async move {
        let totals = db.collection::<Document>("totals");
        let add = doc! { "$inc": { "sum": counter.data.value, "counters": 1 } };
        let added = totals.update_one(doc! { "_id": "all" }, add).upsert(true);
        added.session(session).await?;
        println!("{} {}", counter.r#type, counter.key);
        Ok(Outcome::Applied)
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mongo = options(["--mongo-uri=mongodb://127.0.0.1:27017/minimal_consumer?replicaSet=rs0"])?;
    let db = Db::connect(&mongo, "minimal_consumer", db::Timing::default()).await?;
    let inbox = Inbox::new(&db);
    db.ensure_collection("totals", []).await?;
    inbox.prepare().await?;
    db.mark_prepared();

    let consumer = Consumer::each_version("totals", "MINIMAL", &["counter.created"], add);
    let stream = format!("--nats-stream={}", consumer.stream());
    let nats = options(["--nats-url=nats://127.0.0.1:4222", &stream])?;
    let timing = Timing::default();
    let subscriber = Subscriber {
        consumer,
        context: db.clone(),
        inbox,
        jetstream: JetStream::connect(&nats, "minimal_consumer", &[], timing).await?,
        consumers: 1,
        timing,
        is_traced: false,
        recent: Recent::default(),
    };
    let stop = CancellationToken::new();
    let applying = tokio::spawn(subscriber.run(stop.clone()));
    tokio::signal::ctrl_c().await.context("Ctrl-C")?;
    stop.cancel();
    applying.await?
}
