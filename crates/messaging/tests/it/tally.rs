//! A consumer that adds numbers up, running in the test's process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bson::{Document, doc, rawdoc};
use db::Db;
use futures_util::future::BoxFuture;
use messaging::{
    Consumer, Event, Inbox, JetStream, NatsOptions, Outbox, Outcome, Received, Recent, Subscriber,
};
use mongodb::ClientSession;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use utoipa::ToSchema;

use crate::{
    sent::{acknowledged, numbers},
    toy::{NAME, Place},
};

pub(crate) const CONSUMER: &str = "tally";
pub(crate) const TYPES: &[&str] = &["number.added", "number.taken"];
/// What the handler records.
pub(crate) const CHANGED: &str = "total.changed";

/// A message's payload.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct Number {
    add: i64,
    /// What the handler does with it; it applies it where nothing is said.
    #[serde(default)]
    then: Then,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Then {
    #[default]
    Apply,
    Refuse,
    Panic,
    /// Until it was asked so often.
    Again(usize),
    /// Until the gate is open.
    Wait,
    /// A write that the server refuses for ever.
    Fail,
}

/// What the handler works with.
#[derive(Clone)]
pub(crate) struct Context {
    db: Db,
    outbox: Outbox,
    gate: watch::Receiver<bool>,
    calls: Arc<Mutex<HashMap<(String, i64), usize>>>,
}

pub(crate) fn each_version() -> Consumer<Context> {
    Consumer::each_version(CONSUMER, "NUMBERS", TYPES, |session, context, number| {
        add(session, context, number)
    })
}

pub(crate) fn newest_only() -> Consumer<Context> {
    Consumer::newest_only(CONSUMER, "NUMBERS", TYPES, |session, context, number| {
        add(session, context, number)
    })
}

fn add<'a>(
    session: &'a mut ClientSession,
    context: &'a Context,
    number: &'a Received<Number>,
) -> BoxFuture<'a, mongodb::error::Result<Outcome>> {
    Box::pin(async move {
        let Received { key, version, .. } = number;
        let calls = {
            let mut calls = context.calls.lock().unwrap();
            let calls = calls.entry((key.clone(), *version)).or_default();
            *calls += 1;
            *calls
        };
        let totals = context.db.collection::<Document>("totals");
        let add = doc! { "$inc": { "sum": number.data.add }, "$push": { "applied": version } };
        let total = totals.update_one(doc! { "_id": key }, add).upsert(true);
        total.session(&mut *session).await?;
        let data = rawdoc! { "add": number.data.add };
        let event = Event::new(
            number.metadata.clone(),
            CHANGED,
            key.clone(),
            *version,
            data,
        );
        context.outbox.record(&mut *session, &event).await?;
        match number.data.then {
            Then::Apply => {}
            Then::Refuse => return Ok(Outcome::Refused("it is refused")),
            Then::Panic => panic!("a reason"),
            Then::Again(until) if calls < until => return Ok(Outcome::Again("not yet")),
            Then::Again(_) => {}
            Then::Wait => drop(context.gate.clone().wait_for(|is_open| *is_open).await),
            Then::Fail => {
                let bad = doc! { "$inc": { "applied": 1 } };
                let failed = totals.update_one(doc! { "_id": key }, bad).session(session);
                failed.await?;
            }
        }
        Ok(Outcome::Applied)
    })
}

/// One instance, running.
pub(crate) struct Tally {
    pub(crate) place: Place,
    pub(crate) inbox: Inbox,
    pub(crate) gate: watch::Sender<bool>,
    calls: Arc<Mutex<HashMap<(String, i64), usize>>>,
    pub(crate) db: Db,
    stop: CancellationToken,
    running: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Tally {
    /// On a stream of its own.
    pub(crate) async fn start() -> Self {
        let place = Place::new();
        numbers(&place).await;
        Self::start_at(place).await
    }

    pub(crate) async fn start_at(place: Place) -> Self {
        Self::of(place, each_version()).await
    }

    pub(crate) async fn of(place: Place, consumer: Consumer<Context>) -> Self {
        Self::named(place, consumer, NAME).await
    }

    /// As a service of another name.
    pub(crate) async fn named(place: Place, consumer: Consumer<Context>, service: &str) -> Self {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
        drop(log.with_test_writer().try_init());
        let db = place.db().await;
        let inbox = prepared(&db).await;
        let (gate, opens) = watch::channel(false);
        let calls = Arc::default();
        let context = Context {
            outbox: Outbox::new(&db),
            db: db.clone(),
            gate: opens,
            calls: Arc::clone(&calls),
        };
        let options = NatsOptions {
            nats_stream: place.stream.clone(),
            ..place.nats()
        };
        let jetstream = JetStream::connect(&options, service, &[], place.timing).await;
        let subscriber = Subscriber {
            consumer,
            context,
            inbox: inbox.clone(),
            jetstream: jetstream.unwrap(),
            consumers: 1,
            timing: place.timing,
            is_traced: false,
            recent: Recent::default(),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(subscriber.run(stop.clone()));
        Self {
            place,
            inbox,
            gate,
            calls,
            db,
            stop,
            running: AbortOnDropHandle::new(running),
        }
    }

    /// How often the handler was asked.
    pub(crate) fn calls(&self, key: &str, version: i64) -> usize {
        let calls = self.calls.lock().unwrap();
        let calls = calls.get(&(key.to_owned(), version));
        calls.copied().unwrap_or_default()
    }

    pub(crate) async fn stop(self) -> Place {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.db.drain().await;
        self.place
    }

    /// As `kill -9` does, as far as a task can: nothing is finished, nothing is acknowledged.
    pub(crate) fn kill(self) -> Place {
        drop(self.running);
        self.place
    }

    /// Every test's last step: what is sent is acknowledged, and the data goes.
    pub(crate) async fn finish(self) {
        acknowledged(&self.place).await;
        self.stop().await.remove().await;
    }
}

pub(crate) async fn prepared(db: &Db) -> Inbox {
    let inbox = Inbox::new(db);
    db.ensure_collection("totals", []).await.unwrap();
    Outbox::new(db)
        .prepare(Duration::from_secs(3600))
        .await
        .unwrap();
    inbox.prepare().await.unwrap();
    db.mark_prepared();
    inbox
}
