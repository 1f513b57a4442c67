//! The doorbell: change streams say THAT something was saved. What, the collections are asked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use db::cause;
use tokio::sync::Notify;

use super::Publisher;
use crate::{outbox::Watched, told::Told};

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

    fn ring_for(&self, watched: Watched) {
        if watched == Watched::Parked {
            self.doubt_parked();
        }
        self.rung.notify_one();
    }
}

/// Rings `bell` after every commit that saved events, and when something changed among the parked ones. It never returns. Two streams, for
/// one on the whole database would need the right to read all of it.
pub(super) async fn ring(publisher: Arc<Publisher>, bell: Arc<Bell>) {
    let ring = |watched| ring_for(watched, &publisher, &bell);
    tokio::join!(ring(Watched::Events), ring(Watched::Parked));
}

/// A stream that ends or fails in any way is opened anew, and as nobody knows what it missed, the bell rings.
///
/// This task owns the change stream. A cancelled `next_if_any()` leaves the stream unusable, so after a time-out a new one is opened.
async fn ring_for(watched: Watched, publisher: &Publisher, bell: &Bell) {
    let mut told = Told::default();
    let (outbox, timing) = (&publisher.outbox, publisher.timing);
    let connection = publisher.jetstream.connection();
    let silence = timing.watch_silence_limit;
    loop {
        let opened = outbox.bounded(silence, |outbox| outbox.watch(watched, silence / 3));
        match opened.await {
            Err(error) => told.tell(watched.cannot_be_watched(), cause(&error)),
            Ok(mut stream) => {
                bell.ring_for(watched);
                loop {
                    match tokio::time::timeout(silence, stream.next_if_any()).await {
                        Ok(Ok(None)) if stream.is_alive() => told.is_over(),
                        Ok(Ok(Some(change))) => {
                            // What can be published is seen when it is.
                            if !*connection.borrow()
                                && let Ok(event) = change.get_document("fullDocument")
                            {
                                publisher.recent.waits(event);
                            }
                            bell.ring_for(watched.about(&change));
                        }
                        Ok(Err(error)) => {
                            break told.tell("the change stream failed", cause(&error));
                        }
                        Ok(Ok(None)) => break tracing::warn!("the change stream ended"),
                        Err(_) => break tracing::warn!("the change stream is silent"),
                    }
                }
            }
        }
        bell.ring_for(watched);
        tokio::time::sleep(timing.watch_again).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn rings_of_the_same_moment_are_one() {
        let bell = Bell::default();
        assert!(bell.rung().now_or_never().is_none());
        bell.ring_for(Watched::Events);
        bell.ring_for(Watched::Events);
        assert!(bell.rung().now_or_never().is_some());
        assert!(bell.rung().now_or_never().is_none());
    }

    #[test]
    fn what_is_parked_may_have_changed_at_first_and_when_that_is_told() {
        let bell = Bell::default();
        assert!(bell.take_doubt(), "nothing is known");
        assert!(!bell.take_doubt());
        bell.ring_for(Watched::Events);
        assert!(!bell.take_doubt());
        bell.doubt_parked();
        assert!(bell.take_doubt());
        bell.rung().now_or_never();
        bell.ring_for(Watched::Parked);
        assert!(bell.take_doubt());
        assert!(bell.rung().now_or_never().is_some());
    }
}
