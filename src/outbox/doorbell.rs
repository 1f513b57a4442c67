//! The doorbell: a change stream on the events says THAT something was saved. What, the collection is asked.

use std::sync::Arc;

use bson::{RawDocumentBuf, doc};
use db::Db;
use tokio::sync::Notify;

use super::{event::EVENTS, timing::Timing};

/// Rings `bell` after every commit that saved events; rings of the same moment are one. It never returns: a
/// stream that ends or fails in any way is opened anew, and as nobody knows what it missed, the bell rings.
///
/// The stream has this task for good, and is dropped with a `next_if_any()` that was: it is unusable then.
pub(super) async fn ring(db: Db, timing: Timing, bell: Arc<Notify>) {
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
        let events = db.collection::<RawDocumentBuf>(EVENTS);
        let pipeline = pipeline.clone();
        let opening = async move { events.watch().pipeline(pipeline).await };
        match db.bounded(timing.watch_silence_limit, opening).await {
            Err(error) => tracing::warn!(%error, "cannot watch the events"),
            Ok(stream) => {
                let mut stream = stream.with_type::<RawDocumentBuf>();
                bell.notify_one();
                loop {
                    let next =
                        tokio::time::timeout(timing.watch_silence_limit, stream.next_if_any());
                    match next.await {
                        Ok(Ok(None)) if stream.is_alive() => {}
                        Ok(Ok(Some(_))) => bell.notify_one(),
                        Ok(Err(error)) => {
                            break tracing::warn!(%error, "the change stream failed");
                        }
                        Ok(Ok(None)) => break tracing::warn!("the change stream ended"),
                        Err(_) => break tracing::warn!("the change stream is silent"),
                    }
                }
            }
        }
        bell.notify_one();
        tokio::time::sleep(timing.watch_again).await;
    }
}
