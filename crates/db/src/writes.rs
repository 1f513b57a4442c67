//! How many transactions are under way, and since when none was answered.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::Error;

/// MongoDB has answered no transaction for so long although some wait: a majority of its members is away, or somebody has locked it.
/// Below the 8 s after which a request is answered 503.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(4);

pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The connections that transactions may have; the others of the pool are for reads, which go on where writes hang.
#[derive(Debug)]
pub(crate) struct Writes {
    pub(crate) most: usize,
    places: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// Whoever asks for a write that is to show whether they are answered.
    pub(crate) probed: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Waiting {
    under_way: usize,
    /// Since when transactions have waited and MongoDB has answered no write, whoever asked for it.
    write_answered_at: Option<Instant>,
    /// Since when every place has been taken and MongoDB has answered none of the transactions.
    transaction_answered_at: Option<Instant>,
    /// Somebody looks whether that is a stall.
    is_looked_into: bool,
    is_told: bool,
}

/// One transaction.
pub(crate) struct UnderWay {
    writes: Arc<Writes>,
    _place: OwnedSemaphorePermit,
}

impl Writes {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            places: Arc::new(Semaphore::new(most)),
            waiting: Mutex::default(),
            probed: Arc::default(),
        }
    }

    /// Waits for a place until `latest`, and no longer where all that have one wait in vain.
    pub(crate) async fn begin(self: &Arc<Self>, latest: Instant) -> Result<UnderWay, Error> {
        let mut place = Arc::clone(&self.places).acquire_owned().boxed();
        let mut look_again = Duration::ZERO;
        let place = loop {
            if let Ok(Ok(place)) = timeout(look_again, &mut place).await {
                break place;
            }
            if self.stalled_for().is_some() || self.why_they_hang().is_some() {
                return Err(Error::Stalled);
            }
            if Instant::now() >= latest {
                return Err(Error::Overloaded);
            }
            look_again = LOOK_AGAIN;
        };
        self.waiting.lock().begins(self.most);
        Ok(UnderWay {
            writes: Arc::clone(self),
            _place: place,
        })
    }

    /// For how long MongoDB has answered none, where that is longer than [`STALLED_AFTER`].
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        too_long(self.waiting.lock().write_answered_at)
    }

    /// A sentence for people, where every place has been taken for so long and no transaction was answered, even if other writes are.
    pub(crate) fn why_they_hang(&self) -> Option<String> {
        let time = too_long(self.waiting.lock().transaction_answered_at)?;
        Some(format!(
            "MongoDB has answered none of {} transactions for {} s, and there is no place for more: their connections hang, or what is done in them does",
            self.most,
            time.as_secs()
        ))
    }

    /// Whether they may stall, and nobody looks into it yet: the caller is to.
    pub(crate) fn may_stall(&self) -> bool {
        let may_stall = self.stalled_for().is_some() || self.why_they_hang().is_some();
        may_stall && !std::mem::replace(&mut self.waiting.lock().is_looked_into, true)
    }

    /// Tells what whoever looked into it has found, unless the stall is over. Where it is none, others may look again.
    pub(crate) fn looked_into(&self, why: Option<String>) {
        let mut waiting = self.waiting.lock();
        match why.filter(|_| waiting.is_looked_into) {
            Some(why) => {
                waiting.is_told = true;
                tracing::warn!(why, "writes are not answered");
            }
            None => waiting.is_looked_into = false,
        }
    }

    /// MongoDB has answered a write that has no place among them.
    pub(crate) fn another_is_answered(&self) {
        self.waiting.lock().is_answered();
    }
}

impl UnderWay {
    /// MongoDB has committed it, or has said why it does not do what it was asked.
    pub(crate) fn is_answered(&self) {
        let mut waiting = self.writes.waiting.lock();
        waiting.transaction_answered_at = waiting.transaction_answered_at.map(|_| Instant::now());
        waiting.is_answered();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.writes.waiting.lock().ends();
    }
}

impl Waiting {
    fn begins(&mut self, most: usize) {
        self.under_way += 1;
        self.write_answered_at.get_or_insert_with(Instant::now);
        self.transaction_answered_at = (self.under_way == most).then(Instant::now);
    }

    fn is_answered(&mut self) {
        self.write_answered_at = self.write_answered_at.map(|_| Instant::now());
        if too_long(self.transaction_answered_at).is_none() {
            self.is_looked_into = false;
            if std::mem::take(&mut self.is_told) {
                tracing::info!("MongoDB answers transactions again");
            }
        }
    }

    fn ends(&mut self) {
        self.under_way -= 1;
        self.transaction_answered_at = None;
        if self.under_way == 0 {
            self.write_answered_at = None;
        }
    }
}

fn too_long(since: Option<Instant>) -> Option<Duration> {
    let time = since?.elapsed();
    (time >= STALLED_AFTER).then_some(time)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LATER: Duration = Duration::from_secs(3600);

    async fn begin(writes: &Arc<Writes>) -> UnderWay {
        writes.begin(Instant::now() + LATER).await.ok().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn all_hang_where_none_was_answered_since_every_place_was_taken() {
        let writes = Arc::new(Writes::new(2));
        let one = begin(&writes).await;
        advance(LATER).await;
        let other = begin(&writes).await;
        writes.another_is_answered();
        assert_eq!(writes.why_they_hang(), None, "the last has just begun");
        advance(STALLED_AFTER).await;
        writes.another_is_answered();
        assert!(writes.stalled_for().is_none() && writes.why_they_hang().is_some());
        assert!(matches!(
            writes.begin(Instant::now() + LATER).await,
            Err(Error::Stalled)
        ));
        one.is_answered();
        assert_eq!(writes.why_they_hang(), None);
        advance(STALLED_AFTER).await;
        assert!(writes.why_they_hang().is_some());
        drop(other);
        assert_eq!(writes.why_they_hang(), None, "there is a place");
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_looks_whether_they_stall_until_it_is_told_or_over() {
        let writes = Arc::new(Writes::new(1));
        let one = begin(&writes).await;
        assert!(!writes.may_stall());
        advance(STALLED_AFTER).await;
        assert!(writes.may_stall() && !writes.may_stall());
        writes.looked_into(None);
        assert!(writes.may_stall(), "it was none, and may be one by now");
        writes.looked_into(Some("it hangs".to_owned()));
        assert!(!writes.may_stall(), "it is told");
        writes.another_is_answered();
        assert!(!writes.may_stall(), "it hangs all the same");
        one.is_answered();
        advance(STALLED_AFTER).await;
        assert!(writes.may_stall());
        one.is_answered();
        writes.looked_into(Some("it hung".to_owned()));
        advance(STALLED_AFTER).await;
        assert!(writes.may_stall(), "it was over, and nothing was told");
    }
}
