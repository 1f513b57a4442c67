//! The doorbell: a change stream on the events says THAT something was saved. What, the collection is asked.

use std::{sync::Arc, time::Duration};

use bson::{RawDocumentBuf, doc};
use futures_util::StreamExt;
use tokio::sync::Notify;

use super::event::EVENTS;
use crate::db::Db;

const REOPEN_DELAY: Duration = Duration::from_millis(500);

/// Rings `bell` after every commit that saved events; rings of the same moment are one. It never returns: a
/// stream that ends or fails in any way is opened anew, and as nobody knows what it missed, the bell rings.
///
/// The stream has this task for good, since a dropped `next()` leaves the driver's stream unusable.
pub(super) async fn ring(db: Db, bell: Arc<Notify>) {
    // New events, and those that an operator gives another try; not the publisher's own marks.
    let rings = [
        doc! { "operationType": "insert" },
        doc! { "operationType": "update", "updateDescription.updatedFields.sent": "NO" },
        doc! { "operationType": "update", "updateDescription.removedFields": "parked" },
    ];
    let pipeline = [
        doc! { "$match": { "$or": rings.to_vec() } },
        doc! { "$project": { "_id": 1 } },
    ];
    loop {
        match db
            .collection::<RawDocumentBuf>(EVENTS)
            .watch()
            .pipeline(pipeline.clone())
            .await
        {
            Err(error) => tracing::warn!(%error, "cannot watch the events"),
            Ok(stream) => {
                let mut stream = stream.with_type::<RawDocumentBuf>();
                bell.notify_one();
                loop {
                    match stream.next().await {
                        Some(Ok(_)) => bell.notify_one(),
                        Some(Err(error)) => {
                            break tracing::warn!(%error, "the change stream failed");
                        }
                        None => break tracing::warn!("the change stream ended"),
                    }
                }
            }
        }
        bell.notify_one();
        tokio::time::sleep(REOPEN_DELAY).await;
    }
}
