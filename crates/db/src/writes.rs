//! How many transactions are under way, and since when none was answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::Error;

/// MongoDB has answered no transaction for so long although some wait: a majority of its members is away, or somebody has locked it.
/// Below the 8 s after which a request is answered 503.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(4);

const LOOK_AGAIN: Duration = Duration::from_millis(500);

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
    /// Since when transactions have been waiting and MongoDB has answered no write, whoever asked for it.
    since: Option<Instant>,
    /// Since when it has answered none of the transactions.
    heard: Option<Instant>,
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
        let mut waiting = self.waiting.lock();
        waiting.under_way += 1;
        waiting.since.get_or_insert_with(Instant::now);
        waiting.heard.get_or_insert_with(Instant::now);
        Ok(UnderWay {
            writes: Arc::clone(self),
            _place: place,
        })
    }

    /// For how long MongoDB has answered none, where that is longer than [`STALLED_AFTER`].
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        let since = self.waiting.lock().since?.elapsed();
        (since >= STALLED_AFTER).then_some(since)
    }

    /// A sentence for people, where all that have a place have waited in vain for so long, whether or not other writes are answered.
    pub(crate) fn why_they_hang(&self) -> Option<String> {
        let time = self.waiting.lock().all_hang(self.most)?;
        Some(format!(
            "MongoDB has answered none of {} transactions for {} s, and there is no place for more: their connections hang, or what is done in them does",
            self.most,
            time.as_secs()
        ))
    }

    /// Whether they may stall, and the caller is the first to look into it.
    pub(crate) fn may_stall(&self) -> bool {
        let looked_into =
            |waiting: &mut Waiting| std::mem::replace(&mut waiting.is_looked_into, true);
        let may_stall = self.stalled_for().is_some() || self.why_they_hang().is_some();
        may_stall && !looked_into(&mut self.waiting.lock())
    }

    /// Whether it is not over, and whoever looked into it is to tell of it.
    pub(crate) fn stall_is_to_be_told(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.is_told = waiting.is_looked_into;
        waiting.is_told
    }
}

impl UnderWay {
    /// MongoDB has committed it, or has said why it does not do what it was asked.
    pub(crate) fn is_answered(&self) {
        self.writes.are_answered();
    }
}

impl Writes {
    /// MongoDB has answered one of the transactions.
    fn are_answered(&self) {
        let mut waiting = self.waiting.lock();
        waiting.heard = waiting.heard.map(|_| Instant::now());
        waiting.is_answered(self.most);
    }

    /// MongoDB has answered a write that had no place among them.
    pub(crate) fn another_is_answered(&self) {
        self.waiting.lock().is_answered(self.most);
    }
}

impl Waiting {
    fn all_hang(&self, most: usize) -> Option<Duration> {
        let time = self.heard?.elapsed();
        (self.under_way == most && time >= STALLED_AFTER).then_some(time)
    }

    fn is_answered(&mut self, most: usize) {
        self.since = self.since.map(|_| Instant::now());
        if self.all_hang(most).is_some() {
            return;
        }
        self.is_looked_into = false;
        if std::mem::take(&mut self.is_told) {
            tracing::info!("MongoDB answers transactions again");
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut waiting = self.writes.waiting.lock();
        waiting.under_way -= 1;
        if waiting.under_way == 0 {
            (waiting.since, waiting.heard) = (None, None);
        }
    }
}
