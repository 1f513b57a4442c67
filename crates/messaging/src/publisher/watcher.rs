//! The doorbell: a change stream on the database says THAT something was saved. What, the collections are asked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bson::RawDocumentBuf;
use db::cause;
use tokio::sync::Notify;

use crate::{Outbox, Timing, outbox::PARKED, told::Told};

/// Rings of the same moment are one.
#[derive(Default)]
pub(super) struct Bell {
    rung: Notify,
    /// Whether what is known of the parked events is of this moment.
    parked_is_known: AtomicBool,
}

impl Bell {
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Says so once.
    pub(super) fn take_doubt(&self) -> bool {
        !self.parked_is_known.swap(true, Ordering::Relaxed)
    }

    /// Something changed among the parked events, perhaps.
    pub(super) fn doubt_parked(&self) {
        self.parked_is_known.store(false, Ordering::Relaxed);
    }

    fn ring_for_parked(&self) {
        self.doubt_parked();
        self.rung.notify_one();
    }

    fn ring_for(&self, change: &RawDocumentBuf) {
        let of_parked = change.get_document("ns").and_then(|ns| ns.get_str("coll"));
        if of_parked.is_ok_and(|collection| collection == PARKED) {
            self.ring_for_parked();
        } else {
            self.rung.notify_one();
        }
    }
}

/// Rings `bell` after every commit that saved events, and when something changed among the parked ones. It never returns: a
/// stream that ends or fails in any way is opened anew, and as nobody knows what it missed, the bell rings.
///
/// This task owns the change stream. A cancelled `next_if_any()` leaves the stream unusable, so after a time-out a new one is opened.
pub(super) async fn ring(outbox: Outbox, timing: Timing, bell: Arc<Bell>) {
    let mut told = Told::default();
    loop {
        match outbox
            .bounded(timing.watch_silence_limit, Outbox::watch)
            .await
        {
            Err(error) => {
                told.tell("cannot watch the events", cause(&error));
            }
            Ok(mut stream) => {
                told.is_over();
                bell.ring_for_parked();
                loop {
                    let next =
                        tokio::time::timeout(timing.watch_silence_limit, stream.next_if_any());
                    match next.await {
                        Ok(Ok(None)) if stream.is_alive() => {}
                        Ok(Ok(Some(change))) => bell.ring_for(&change),
                        Ok(Err(error)) => {
                            break tracing::warn!(
                                error = cause(&error),
                                "the change stream failed"
                            );
                        }
                        Ok(Ok(None)) => break tracing::warn!("the change stream ended"),
                        Err(_) => break tracing::warn!("the change stream is silent"),
                    }
                }
            }
        }
        bell.ring_for_parked();
        tokio::time::sleep(timing.watch_again).await;
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn rings_of_the_same_moment_are_one() {
        let bell = Bell::default();
        assert!(bell.rung().now_or_never().is_none());
        let change = rawdoc! { "ns": { "db": "shop", "coll": "events" } };
        bell.ring_for(&change);
        bell.ring_for(&change);
        assert!(bell.rung().now_or_never().is_some());
        assert!(bell.rung().now_or_never().is_none());
    }

    #[test]
    fn what_is_parked_may_have_changed_at_first_and_when_that_is_told() {
        let bell = Bell::default();
        let events = rawdoc! { "ns": { "coll": "events" } };
        let parked = rawdoc! { "ns": { "coll": PARKED } };
        assert!(bell.take_doubt(), "nothing is known");
        assert!(!bell.take_doubt());
        bell.ring_for(&events);
        assert!(!bell.take_doubt());
        bell.doubt_parked();
        assert!(bell.take_doubt());
        bell.rung().now_or_never();
        bell.ring_for(&parked);
        assert!(bell.take_doubt());
        assert!(bell.rung().now_or_never().is_some());
    }
}
