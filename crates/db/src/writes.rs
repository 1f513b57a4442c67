//! How many transactions are under way, and since when none was answered.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// Where MongoDB has answered no transaction for so long although some wait, it takes none: a majority of its members is away, or it is
/// locked. Below the 8 s after which a request is answered 503.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(4);

/// The connections that transactions may have; the others of the pool are for reads, which go on where writes hang.
#[derive(Debug)]
pub(crate) struct Writes {
    places: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    under_way: usize,
    /// Since when some wait and none is answered.
    since: Option<Instant>,
    is_told: bool,
}

/// One transaction.
pub(crate) struct UnderWay {
    writes: Arc<Writes>,
    _place: OwnedSemaphorePermit,
}

impl Writes {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            waiting: Mutex::default(),
        }
    }

    /// Waits for a place until `latest`, and not at all where those that have one wait in vain.
    pub(crate) async fn begin(self: &Arc<Self>, latest: Instant) -> Result<UnderWay, Error> {
        let places = Arc::clone(&self.places);
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) if self.stalled_for().is_some() => return Err(Error::Stalled),
            Err(_) => tokio::time::timeout_at(latest.into(), places.acquire_owned())
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or(Error::Overloaded)?,
        };
        let mut waiting = self.waiting();
        waiting.under_way += 1;
        waiting.since.get_or_insert_with(Instant::now);
        Ok(UnderWay {
            writes: Arc::clone(self),
            _place: place,
        })
    }

    /// For how long MongoDB has answered none, where that is longer than [`STALLED_AFTER`].
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        let since = self.waiting().since?.elapsed();
        (since >= STALLED_AFTER).then_some(since)
    }

    /// Whether they stall and nobody was told yet.
    pub(crate) fn stall_is_news(&self) -> bool {
        self.stalled_for().is_some() && !std::mem::replace(&mut self.waiting().is_told, true)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// MongoDB has committed it, or has said why it does not.
    pub(crate) fn is_answered(&self) {
        let mut waiting = self.writes.waiting();
        waiting.since = Some(Instant::now());
        if std::mem::take(&mut waiting.is_told) {
            tracing::info!("MongoDB answers transactions again");
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut waiting = self.writes.waiting();
        waiting.under_way -= 1;
        if waiting.under_way == 0 {
            waiting.since = None;
        }
    }
}
