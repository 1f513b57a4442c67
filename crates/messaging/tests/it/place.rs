//! What sets one test's data apart from all others', and how the outbox is configured there.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use db::{Db, MongoOptions, setting};
use messaging::{JetStream, NatsAccess, NatsOptions, Outbox, Timing};
use secrecy::SecretString;

use crate::toy::{EVENTS, NAME};

/// What sets one test's data apart from all others', and how the outbox is configured there.
#[derive(Clone)]
pub(crate) struct Place {
    place: testbed::Place,
    pub(crate) stream: String,
    /// Of the stream, when it is created.
    pub(crate) duplicate_window: Duration,
    pub(crate) replicas: usize,
    pub(crate) event_retention: Duration,
    pub(crate) access: NatsAccess,
    pub(crate) timing: Timing,
    /// How long a stop may take; what hangs then is left behind.
    pub(crate) drain: Duration,
}

impl Deref for Place {
    type Target = testbed::Place;

    fn deref(&self) -> &Self::Target {
        &self.place
    }
}

impl DerefMut for Place {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.place
    }
}

impl Place {
    /// On the servers that all tests share.
    pub(crate) fn new() -> Self {
        Self::of(testbed::Place::shared())
    }

    pub(crate) fn at(mongo_uri: &str, nats_url: &str) -> Self {
        Self::of(testbed::Place::at(mongo_uri, nats_url))
    }

    fn of(place: testbed::Place) -> Self {
        Self {
            stream: place.name.clone(),
            place,
            duplicate_window: Duration::from_secs(120),
            replicas: 1,
            event_retention: Duration::from_secs(3600),
            access: NatsAccess::default(),
            timing: Timing::default(),
            drain: Duration::from_secs(13),
        }
    }

    pub(crate) fn nats(&self) -> NatsOptions {
        NatsOptions {
            nats_stream: self.stream.clone(),
            nats_replicas: self.replicas,
            nats_duplicate_window: self.duplicate_window,
            access: self.access.clone(),
            ..setting::options(self.nats_flags()).unwrap()
        }
    }

    pub(crate) async fn db(&self) -> Db {
        let mongo_uri = SecretString::from(self.mongo_uri.clone());
        let options = MongoOptions { mongo_uri };
        let db = Db::connect(&options, NAME, db::Timing::default()).await;
        db.unwrap()
    }

    pub(crate) async fn jetstream(&self) -> JetStream {
        let jetstream = JetStream::connect(&self.nats(), NAME, EVENTS, self.timing).await;
        jetstream.unwrap()
    }

    /// Its outbox, with all that belongs to it, and nobody who publishes.
    pub(crate) async fn prepared(&self) -> (Db, Outbox) {
        let db = self.db().await;
        let outbox = Outbox::new(&db);
        outbox.prepare(self.event_retention).await.unwrap();
        db.mark_prepared();
        (db, outbox)
    }
}
