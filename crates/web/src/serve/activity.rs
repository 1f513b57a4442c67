//! What is asked on a connection: since when nothing is, and since when a head has begun that is not whole.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// What is asked on a connection, and when something was last.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    state: Arc<Mutex<State>>,
    head_begins: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    asked: u64,
    /// Since when each request is being answered.
    in_hand: BTreeMap<u64, Instant>,
    changed: Instant,
    /// When the first bytes of a head came that is not whole.
    head_began: Option<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        let state = State {
            asked: 0,
            in_hand: BTreeMap::new(),
            changed: Instant::now(),
            head_began: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            head_begins: Arc::default(),
        }
    }
}

impl Activity {
    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Ok(mut state) = self.state.lock() {
            change(&mut state);
            state.changed = Instant::now();
        }
    }

    pub(super) fn begin(&self) -> InHand {
        let mut number = 0;
        self.change(|state| {
            state.asked += 1;
            number = state.asked;
            state.in_hand.insert(number, Instant::now());
            state.head_began = None;
        });
        let activity = self.clone();
        InHand { activity, number }
    }

    /// How many requests there have been, where none is being answered.
    pub(super) fn all_answered(&self) -> Option<u64> {
        let state = self.state.lock().ok()?;
        state.in_hand.is_empty().then_some(state.asked)
    }

    /// Bytes came. While nothing is in hand they begin a head, or go on with it.
    pub(super) fn has_read(&self) {
        if let Ok(mut state) = self.state.lock()
            && state.in_hand.is_empty()
            && state.head_began.is_none()
        {
            state.head_began = Some(Instant::now());
            self.head_begins.notify_one();
        }
    }

    /// Returns when a head has begun so long ago and is not whole.
    pub(super) async fn head_takes(&self, limit: Duration) {
        loop {
            let began = self.state.lock().ok().and_then(|state| state.head_began);
            match began {
                None => self.head_begins.notified().await,
                Some(began) if began.elapsed() >= limit => return,
                Some(began) => sleep_until(began + limit).await,
            }
        }
    }

    /// Since when nothing is asked. A head that has begun is no idleness: it has a limit of its own.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock().ok()?;
        (state.in_hand.is_empty() && state.head_began.is_none()).then_some(state.changed)
    }

    /// What was read was no head.
    pub(super) fn no_head_began(&self) {
        self.change(|state| state.head_began = None);
    }

    /// Returns when one request has been in hand for so long.
    pub(super) async fn one_takes(&self, limit: Duration) {
        loop {
            let oldest = self
                .state
                .lock()
                .ok()
                .and_then(|state| state.in_hand.first_key_value().map(|(_, began)| *began));
            match oldest {
                Some(began) if began.elapsed() >= limit => return,
                // A later one ends later.
                Some(began) => sleep_until(began + limit).await,
                None => sleep_until(Instant::now() + limit).await,
            }
        }
    }

    /// Returns when nothing was asked for so long.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let since = self
                .state
                .lock()
                .map_or_else(|_| Instant::now(), |state| state.changed);
            let ends = since + limit;
            if self.all_answered().is_some() && ends <= Instant::now() {
                return;
            }
            sleep_until(ends.max(Instant::now() + limit / 100)).await;
        }
    }
}

/// Until it is dropped, a request is being answered.
pub(super) struct InHand {
    activity: Activity,
    number: u64,
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.activity.change(|state| {
            state.in_hand.remove(&self.number);
        });
    }
}
