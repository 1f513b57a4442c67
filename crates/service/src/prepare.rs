//! Makes collections and indexes before writes are taken, and waits for the database as long as it takes.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use db::{Db, setting::Unusable};
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
            preparing.check_replica_set().await?;
            if let Some(foreign) = preparing.claim().await? {
                return Ok(Some(foreign));
            }
            for ensure in collections {
                ensure(&preparing).await?;
            }
            web::collections(&preparing).await?;
            Outbox::new(&preparing).prepare(retention).await?;
            Ok(None)
        };
        db.bounded(timing.prepare_limit, all)
    };
    let pauses = ExponentialBuilder::new()
        .with_min_delay(timing.prepare_again)
        .with_max_delay(timing.longest_prepare_again)
        .without_max_times();
    let again = once.retry(pauses).notify(|error, again_in| {
        tracing::warn!(%error, ?again_in, "waiting for the database");
    });
    // Pauses never end, so it is no error.
    if let Ok(Some(foreign)) = again.await {
        return Err(foreign);
    }
    db.mark_prepared();
    tracing::info!("the database is ready");
    Ok(())
}
