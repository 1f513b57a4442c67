//! A counter with any number of versions, each announced by an event; and the outbox, running in the test's process.

use std::{convert::Infallible, time::Duration};

use bson::{DateTime, Document, doc, oid::ObjectId};
use db::{Abort, Db};
use messaging::{EventType, Metadata, Outbox, Publisher, Recent};
use mongodb::options::ReturnDocument;
use serde_json::Value;
use testbed::{DEADLINE, eventually};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) use crate::place::Place;

/// The service's name, which messages give as their source.
pub(crate) const NAME: &str = "toy";

const COUNTERS: &str = "counters";

pub(crate) const EVENTS: &[EventType] = &[
    EventType::of::<Value>("counter.created"),
    EventType::of::<Value>("counter.updated"),
];

/// The outbox, running.
pub(crate) struct Toy {
    pub(crate) place: Place,
    pub(crate) nats: async_nats::Client,
    pub(crate) recent: Recent,
    db: Db,
    stop: CancellationToken,
    running: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Toy {
    pub(crate) async fn start() -> Self {
        Self::start_at(Place::new()).await
    }

    /// Starts it, and waits until it takes writes.
    pub(crate) async fn start_at(place: Place) -> Self {
        let toy = Self::begin_at(place).await;
        eventually("the toy is ready", async || {
            assert!(!toy.running.is_finished(), "the toy has ended");
            toy.db.is_prepared()
        })
        .await;
        toy
    }

    /// Starts it, and waits for nothing.
    pub(crate) async fn begin_at(place: Place) -> Self {
        // Shown where the test fails.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
        drop(log.with_test_writer().try_init());
        let (db, jetstream) = (place.db().await, place.jetstream().await);
        let nats = jetstream.client().clone();
        let publisher = Publisher {
            timing: place.timing,
            ..Publisher::new(&Outbox::new(&db), jetstream, place.event_retention)
        };
        let (recent, stop) = (publisher.recent.clone(), CancellationToken::new());
        let running = run(publisher, db.clone(), stop.clone());
        Self {
            place,
            nats,
            recent,
            db,
            stop,
            running: AbortOnDropHandle::new(tokio::spawn(running)),
        }
    }

    /// A counter; its key.
    pub(crate) async fn create(&self) -> String {
        self.create_traced(None).await
    }

    pub(crate) async fn create_traced(&self, traceparent: Option<&str>) -> String {
        let key = ObjectId::new().to_hex();
        self.count(&key, traceparent).await;
        key
    }

    /// Its next version.
    pub(crate) async fn update(&self, key: &str) {
        self.count(key, None).await;
    }

    async fn count(&self, key: &str, traceparent: Option<&str>) {
        let context = Counting {
            db: self.db.clone(),
            outbox: Outbox::new(&self.db),
            key: key.to_owned(),
            metadata: Metadata {
                traceparent: traceparent.map(str::to_owned),
                ..Metadata::now()
            },
        };
        let counted = self.db.transaction(context, |session, counting| {
            Box::pin(async move {
                let key = &counting.key;
                let counters = counting.db.collection::<Document>(COUNTERS);
                let count = doc! { "$inc": { "value": 1_i64 } };
                let counted = counters
                    .find_one_and_update(doc! { "_id": key }, count)
                    .upsert(true)
                    .return_document(ReturnDocument::After)
                    .session(&mut *session);
                let value = counted.await?.unwrap().get_i64("value").unwrap();
                let version = value - 1;
                let r#type = &EVENTS[usize::from(version > 0)];
                let data = doc! { "id": key.as_str(), "version": version, "value": value };
                let metadata = counting.metadata.clone();
                let event = r#type.event(metadata, key.clone(), version, &data)?;
                counting.outbox.record(session, &event).await?;
                Ok::<_, Abort<Infallible>>(())
            })
        });
        counted.await.unwrap();
    }

    pub(crate) fn is_connected_to_nats(&self) -> bool {
        self.nats.connection_state() == async_nats::connection::State::Connected
    }

    pub(crate) async fn stop(self) -> Place {
        self.stop.cancel();
        let drained = async {
            self.running.await.unwrap().unwrap();
            self.db.drain().await;
        };
        if tokio::time::timeout(self.place.drain, drained)
            .await
            .is_err()
        {
            tracing::warn!("not all was finished before the deadline");
        }
        self.place
    }

    /// Every test's last step: nothing is left unsent, and the data goes.
    pub(crate) async fn finish(self) {
        self.place.drained().await;
        self.stop().await.remove().await;
    }
}

/// What the closure of a transaction works with.
struct Counting {
    db: Db,
    outbox: Outbox,
    key: String,
    metadata: Metadata,
}

/// Makes the collections, as long as that takes; then publishes until `stop`.
async fn run(publisher: Publisher, db: Db, stop: CancellationToken) -> anyhow::Result<()> {
    let retention = publisher.event_retention;
    let prepared = async {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        let made = async || {
            db.bounded(DEADLINE, collections(db.clone(), retention))
                .await
        };
        while made().await.is_err() {
            again.tick().await;
        }
    };
    if stop.run_until_cancelled(prepared).await.is_none() {
        return Ok(());
    }
    db.mark_prepared();
    publisher.run(stop).await
}

async fn collections(db: Db, retention: Duration) -> mongodb::error::Result<()> {
    db.ensure_collection(COUNTERS, []).await?;
    Outbox::new(&db).prepare(retention).await.map(drop)
}

/// An event as it stands in the collection, that nobody published yet.
pub(crate) fn event(key: &str, version: i64, data: Document) -> Document {
    doc! {
        "_id": ObjectId::new(), "type": "counter.updated", "subject": format!("counter.updated.{key}"),
        "key": key, "version": version, "data": data, "sent": "NO", "createdAt": DateTime::now(),
    }
}

/// The versions of a key, in the stream's order.
pub(crate) async fn published(place: &Place, key: &str) -> Vec<i64> {
    let messages = place.messages().await;
    let of_key = messages
        .iter()
        .filter(|message| message.subject.rsplit('.').next() == Some(key));
    let versions = of_key.map(|message| {
        let version = message.headers.get("ce-keyversion").unwrap();
        version.as_str().parse().unwrap()
    });
    versions.collect()
}

/// Waits until so many events are unsent, as a majority of the servers has them.
pub(crate) async fn unsent(toy: &Toy, wanted: i64) {
    let outbox = Outbox::new(&toy.place.db().await);
    eventually("so many are unsent", async || {
        outbox.status().await.unwrap().unsent == wanted
    })
    .await;
}
