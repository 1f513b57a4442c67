//! The doorbell: a change stream on the events says THAT something was saved. What, the collection is asked.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{Outbox, Timing};

/// Rings `bell` after every commit that saved events; rings of the same moment are one. It never returns: a
/// stream that ends or fails in any way is opened anew, and as nobody knows what it missed, the bell rings.
///
/// This task owns the change stream. A cancelled `next_if_any()` leaves the stream unusable, so after a time-out a new one is opened.
pub(super) async fn ring(outbox: Outbox, timing: Timing, bell: Arc<Notify>) {
    loop {
        let watched = outbox.clone();
        let opening = async move { watched.watch().await };
        match outbox.db.bounded(timing.watch_silence_limit, opening).await {
            Err(error) => tracing::warn!(%error, "cannot watch the events"),
            Ok(mut stream) => {
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
