//! Makes collections and indexes before writes are taken, and waits for the database as long as it takes. Then it looks after
//! them: what somebody drops comes back.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use db::{Db, OwnerError, setting::Unusable};
use messaging::{Inbox, Outbox};
use tokio::time::sleep;

use crate::{Collections, Timing};

/// What a service has in its database.
pub(crate) struct Preparation {
    pub(crate) db: Db,
    /// Whether this process publishes, too.
    pub(crate) publishes: bool,
    pub(crate) collections: Vec<Collections>,
    pub(crate) event_retention: Duration,
    /// Whether the service consumes anything.
    pub(crate) consumes: bool,
    pub(crate) timing: Timing,
}

impl Preparation {
    /// Returns when all of it is there, and whether events are kept for as long as was asked for; any number of instances may do so
    /// at once.
    ///
    /// # Errors
    /// When the database is another service's.
    pub(crate) async fn first(&self) -> Result<bool, Unusable> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.timing.prepare_again)
            .with_max_delay(self.timing.longest_prepare_again)
            .without_max_times();
        let mut told = String::new();
        let once = || {
            let (outbox, retention) = (self.outbox(), self.event_retention);
            self.once(async move { outbox.prepare(retention).await })
        };
        let again = once
            .retry(pauses)
            .when(|error| !matches!(error, OwnerError::Foreign(_)))
            .notify(|error, again_in| {
                let why = error.explained(&self.db);
                self.db.note_why_unprepared(format!(": {why}"));
                if told != why {
                    tracing::warn!(error = why, ?again_in, "waiting for the database");
                    told = why;
                } else {
                    tracing::debug!(?again_in, "waiting for the database, again");
                }
            });
        let retention_is_ours = match again.await {
            Err(OwnerError::Foreign(foreign)) => return Err(foreign),
            prepared => prepared.unwrap_or_default(),
        };
        self.db.mark_prepared();
        tracing::info!("the database is ready");
        Ok(retention_is_ours)
    }

    /// Makes again what is not there any more, until the database turns out to be another service's.
    pub(crate) async fn keep(&self, mut retention_is_ours: bool) -> Unusable {
        let mut told = String::new();
        loop {
            sleep(self.timing.prepare_interval).await;
            let outbox = self.outbox();
            let retention = self.event_retention;
            let restored = self.once(async move { outbox.restore(retention).await });
            match restored.await {
                Err(OwnerError::Foreign(foreign)) => return foreign,
                Err(error) => {
                    let error = error.explained(&self.db);
                    if error != told {
                        tracing::warn!(error, "cannot look after the collections");
                    }
                    told = error;
                }
                Ok(is_ours) => {
                    told.clear();
                    if retention_is_ours && !is_ours {
                        tracing::warn!(
                            "EVENT_RETENTION is not in force: another instance has another"
                        );
                    }
                    retention_is_ours = is_ours;
                }
            }
        }
    }

    fn outbox(&self) -> Outbox {
        let outbox = Outbox::new(&self.db);
        if self.publishes {
            outbox
        } else {
            outbox.without_publisher()
        }
    }

    /// Makes all of it, the outbox's part by `outbox`.
    async fn once<T, F>(&self, outbox: F) -> Result<T, OwnerError>
    where
        T: Send + 'static,
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let limit = self.timing.prepare_limit;
        let checked = self.db.clone();
        let check = async move { checked.check_replica_set().await };
        self.db.bounded(limit, check).await?;
        self.db.claim().await?;
        let db = self.db.clone();
        let (collections, consumes) = (self.collections.clone(), self.consumes);
        let all = async move {
            for ensure in collections {
                ensure(&db).await?;
            }
            web::collections(&db).await?;
            if consumes {
                Inbox::new(&db).prepare().await?;
            }
            outbox.await
        };
        Ok(self.db.bounded(limit, all).await?)
    }
}
