//! Makes collections and indexes before writes are taken, and waits for the database as long as it takes. Then it looks after
//! them: what somebody drops comes back.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use db::{Db, OwnerError, setting::Unusable};
use messaging::Outbox;
use tokio::time::sleep;

use crate::{Collections, Timing};

/// What a service has in its database.
pub(crate) struct Preparation {
    pub(crate) db: Db,
    pub(crate) collections: Vec<Collections>,
    pub(crate) event_retention: Duration,
    pub(crate) timing: Timing,
}

impl Preparation {
    /// Returns when all of it is there; any number of instances may do so at once.
    ///
    /// # Errors
    /// When the database is another service's.
    pub(crate) async fn first(&self) -> Result<(), Unusable> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.timing.prepare_again)
            .with_max_delay(self.timing.longest_prepare_again)
            .without_max_times();
        let again = (|| self.once())
            .retry(pauses)
            .when(|error| !matches!(error, OwnerError::Foreign(_)))
            .notify(|error, again_in| {
                tracing::warn!(%error, ?again_in, "waiting for the database");
            });
        if let Err(OwnerError::Foreign(foreign)) = again.await {
            return Err(foreign);
        }
        self.db.mark_prepared();
        tracing::info!("the database is ready");
        Ok(())
    }

    /// Makes again what is not there any more, until the database turns out to be another service's.
    pub(crate) async fn keep(&self) -> Unusable {
        loop {
            sleep(self.timing.prepare_interval).await;
            match self.once().await {
                Err(OwnerError::Foreign(foreign)) => return foreign,
                Err(error) => tracing::debug!(%error, "cannot look after the collections"),
                Ok(()) => {}
            }
        }
    }

    async fn once(&self) -> Result<(), OwnerError> {
        let limit = self.timing.prepare_limit;
        let checked = self.db.clone();
        let check = async move { checked.check_replica_set().await };
        self.db.bounded(limit, check).await?;
        self.db.claim().await?;
        let (db, retention) = (self.db.clone(), self.event_retention);
        let collections = self.collections.clone();
        let all = async move {
            for ensure in collections {
                ensure(&db).await?;
            }
            web::collections(&db).await?;
            Outbox::new(&db).prepare(retention).await
        };
        Ok(self.db.bounded(limit, all).await?)
    }
}
