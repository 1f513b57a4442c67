//! The collection of the events, as it is made.

use std::time::Duration;

use bson::{Document, doc};
use db::{cause, error_code};
use mongodb::{IndexModel, options::IndexOptions};

use super::{EVENTS, Outbox, UNSENT_INDEX, in_order, unsent};

impl Outbox {
    /// Makes the collections and their indexes; `retention` counts from the publication, and takes the place of another, where
    /// our user may change that. Whether events are kept so long now.
    ///
    /// # Errors
    /// The driver's.
    pub async fn prepare(&self, retention: Duration) -> mongodb::error::Result<bool> {
        Ok(self.restore(retention).await? || self.change(retention).await?)
    }

    /// Makes again what is not there any more. Whether events are kept for `retention`: another that is there stays.
    ///
    /// # Errors
    /// The driver's.
    pub async fn restore(&self, retention: Duration) -> mongodb::error::Result<bool> {
        let backlog = IndexOptions::builder()
            .name(UNSENT_INDEX.to_owned())
            .partial_filter_expression(unsent())
            .build();
        let once = IndexOptions::builder().unique(true).build();
        let indexes = [
            index(in_order(), backlog),
            index(doc! { "key": 1, "version": 1 }, once),
        ];
        self.create_events().await?;
        self.db.need(EVENTS, &["find", "insert"]);
        if self.publishes {
            self.db.need(EVENTS, &["update"]);
        }
        self.db.make_collection(EVENTS, indexes).await?;
        self.prepare_parked().await?;
        self.ensure(retention).await
    }

    /// An array would stand for each of its elements in the indexes, and from then on they would give no order.
    async fn create_events(&self) -> mongodb::error::Result<()> {
        const NAMESPACE_EXISTS: i32 = 48;
        let arrays = ["key", "version"].map(|name| doc! { name: { "$type": "array" } });
        let database = self.db.database();
        let create = database.create_collection(EVENTS);
        match create.validator(doc! { "$nor": arrays.to_vec() }).await {
            Err(error) if error_code(&error) != Some(NAMESPACE_EXISTS) => Err(error),
            _ => Ok(()),
        }
    }

    async fn ensure(&self, retention: Duration) -> mongodb::error::Result<bool> {
        const INDEX_OPTIONS_CONFLICT: i32 = 85;
        let expires = IndexOptions::builder().expire_after(retention).build();
        let events = self.events::<Document>();
        match events
            .create_index(index(doc! { "sentAt": 1 }, expires))
            .await
        {
            Err(error) if error_code(&error) == Some(INDEX_OPTIONS_CONFLICT) => Ok(false),
            made => made.map(|_| true),
        }
    }

    /// Who may not change it works with what is there.
    async fn change(&self, retention: Duration) -> mongodb::error::Result<bool> {
        const UNAUTHORIZED: i32 = 13;
        let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
        let index = doc! { "keyPattern": { "sentAt": 1 }, "expireAfterSeconds": seconds };
        let change = doc! { "collMod": EVENTS, "index": index };
        match self.db.database().run_command(change).await {
            Ok(changed) => {
                let before = changed
                    .get("expireAfterSeconds_old")
                    .map(ToString::to_string);
                tracing::warn!(
                    before_seconds = before,
                    seconds,
                    "EVENT_RETENTION was another"
                );
                Ok(true)
            }
            Err(error) if error_code(&error) == Some(UNAUTHORIZED) => {
                let error = cause(&error);
                tracing::warn!(
                    error,
                    "EVENT_RETENTION is not in force: events are kept as before"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn index(keys: Document, options: IndexOptions) -> IndexModel {
    IndexModel::builder().keys(keys).options(options).build()
}
