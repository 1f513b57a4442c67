//! What sets one test's data apart from all others': its own database, stream and subject prefix, all of the same name.

use std::process::Command;

use bson::{Document, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use mongodb::{
    Client, Database,
    options::{DatabaseOptions, ReadConcern},
};
use tokio::sync::OnceCell;

use crate::{
    shared::{mongo_uri, nats_url},
    wait::eventually,
};

#[derive(Clone)]
pub struct Place {
    pub name: String,
    pub mongo_uri: String,
    pub nats_url: String,
    client: OnceCell<Client>,
}

impl Place {
    /// On the servers that all tests share.
    pub fn shared() -> Self {
        Self::at(&mongo_uri(), &nats_url())
    }

    /// On other servers, of which one may be a test's own.
    pub fn at(mongo_uri: &str, nats_url: &str) -> Self {
        let name = format!("t{}", ObjectId::new().to_hex());
        let (servers, options) = mongo_uri.split_once("/?").unwrap();
        let mongo_uri = format!("{servers}/{name}?{options}&appName={name}");
        Self {
            name,
            mongo_uri,
            nats_url: nats_url.to_owned(),
            client: OnceCell::new(),
        }
    }

    /// How a process is told to publish there.
    pub fn nats_flags(&self) -> [String; 3] {
        [
            format!("--nats-url={}", self.nats_url),
            format!("--nats-stream={}", self.name),
            format!("--nats-subject-prefix={}", self.name),
        ]
    }

    /// A service as a process, on this place's servers and on free ports, without limits of rates; `jwt_key` signs its tokens.
    pub fn command(&self, program: &str, jwt_key: &str) -> Command {
        let mut command = Command::new(program);
        // No file `.env` of ours counts.
        command.current_dir(std::env::temp_dir()).envs([
            ("MONGO_URI", &*self.mongo_uri),
            ("NATS_URL", &self.nats_url),
            ("NATS_STREAM", &self.name),
            ("NATS_SUBJECT_PREFIX", &self.name),
            ("JWT_KEY", jwt_key),
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("ADMIN_ADDR", "127.0.0.1:0"),
            ("RATE_LIMIT", "0"),
            ("WRITE_RATE_LIMIT", "0"),
            ("RUST_LOG", "info"),
            ("LOG_FORMAT", "text"),
        ]);
        command
    }

    /// By one client for all that the test itself looks at, at the address of when it was first asked for: to connect costs both sides more than
    /// what is asked. It reads by majority, as a service does: about what one member alone has, nobody can decide yet.
    pub async fn database(&self) -> Database {
        let connect = async || Client::with_uri_str(&self.mongo_uri).await.unwrap();
        let client = self.client.get_or_init(connect).await;
        let options = DatabaseOptions::builder().read_concern(ReadConcern::majority());
        client.database_with_options(&self.name, options.build())
    }

    /// By key and version.
    pub async fn events(&self) -> Vec<Document> {
        let events = self.database().await.collection::<Document>("events");
        let events = events.find(doc! {}).sort(doc! { "key": 1, "version": 1 });
        events.await.unwrap().try_collect().await.unwrap()
    }

    /// Asserts that each of so many pages of a collection, which were read with the profiler on, was read from the end of an index and cost no
    /// more than it shows.
    pub async fn pages_cost_what_they_show(&self, collection: &str, pages: usize, shown: i32) {
        let database = self.database().await;
        database.run_command(doc! { "profile": 0 }).await.unwrap();
        let profile = database.collection::<Document>("system.profile");
        let finds = doc! { "op": "query", "ns": format!("{}.{collection}", self.name) };
        let asked = profile.find(finds).await.unwrap();
        let asked: Vec<Document> = asked.try_collect().await.unwrap();
        assert_eq!(asked.len(), pages);
        for asked in asked {
            assert!(asked.get("hasSortStage").is_none(), "{asked}");
            // One more than it shows tells whether there is a next page; the cursor's own place is passed over.
            for examined in ["docsExamined", "keysExamined"] {
                assert!(asked.get_i32(examined).unwrap() <= shown + 2, "{asked}");
            }
        }
    }

    /// What is noted of parked events that wait for an operator, by key.
    pub async fn parked(&self) -> Vec<Document> {
        let parked = self.database().await.collection::<Document>("parked");
        let waits = parked.find(doc! { "state": { "$exists": false } });
        let waits = waits.sort(doc! { "key": 1 });
        waits.await.unwrap().try_collect().await.unwrap()
    }

    /// Waits until no event that a majority has is unsent.
    pub async fn drained(&self) {
        let events = self.database().await.collection::<Document>("events");
        eventually("the outbox is drained", async || {
            let unsent = events.count_documents(doc! { "sent": "NO" }).await;
            unsent.is_ok_and(|unsent| unsent == 0)
        })
        .await;
    }

    /// Drops the database and deletes the stream.
    pub async fn remove(&self) {
        self.database().await.drop().await.unwrap();
        #[cfg(feature = "nats")]
        self.delete_stream().await;
    }
}

/// Events as they stand in the collection.
pub async fn plant(place: &Place, events: impl IntoIterator<Item = Document>) {
    let collection = place.database().await.collection::<Document>("events");
    collection.insert_many(events).await.unwrap();
}
