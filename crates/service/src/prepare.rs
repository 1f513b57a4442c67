//! Makes collections and indexes before writes are taken, and waits for the database as long as it takes.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use db::{Db, OwnerError, setting::Unusable};
use messaging::Outbox;

use crate::{Collections, Timing};

/// Returns when they are there; any number of instances may do so at once.
///
/// # Errors
/// When the database is another service's.
pub(crate) async fn prepare(
    db: &Db,
    collections: &[Collections],
    retention: Duration,
    timing: Timing,
) -> Result<(), Unusable> {
    let once = || {
        let (preparing, collections) = (db.clone(), collections.to_vec());
        let all = async move {
            for ensure in collections {
                ensure(&preparing).await?;
            }
            web::collections(&preparing).await?;
            Outbox::new(&preparing).prepare(retention).await
        };
        async move {
            let checked = db.clone();
            let check = async move { checked.check_replica_set().await };
            db.bounded(timing.prepare_limit, check).await?;
            db.claim().await?;
            Ok(db.bounded(timing.prepare_limit, all).await?)
        }
    };
    let pauses = ExponentialBuilder::new()
        .with_min_delay(timing.prepare_again)
        .with_max_delay(timing.longest_prepare_again)
        .without_max_times();
    let again = once
        .retry(pauses)
        .when(|error| !matches!(error, OwnerError::Foreign(_)))
        .notify(|error, again_in| {
            tracing::warn!(%error, ?again_in, "waiting for the database");
        });
    if let Err(OwnerError::Foreign(foreign)) = again.await {
        return Err(foreign);
    }
    db.mark_prepared();
    tracing::info!("the database is ready");
    Ok(())
}
