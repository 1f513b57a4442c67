//! What is asked on a connection: since when nothing is, and since when a head has begun that is not whole.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{frames::Frames, heads::Heads};

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
    read: Read,
    /// When the first bytes of a head came that is not whole.
    head_began: Option<Instant>,
    /// Whether a body of HTTP/1 is to come that was not read to its end.
    has_body_left: bool,
    /// Of HTTP/1: how many requests had been asked when all of them were answered and sent.
    all_sent_at: u64,
    /// Nothing more is sent.
    has_closed: bool,
}

/// What was read, by the protocol.
#[derive(Debug)]
enum Read {
    Http1(Heads),
    Http2(Frames),
}

/// What a head of HTTP/1 says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Bytes(u64),
    /// Its end says so.
    Chunked,
}

impl Default for Activity {
    fn default() -> Self {
        let state = State {
            asked: 0,
            in_hand: BTreeMap::new(),
            changed: Instant::now(),
            read: Read::Http1(Heads::default()),
            head_began: None,
            has_body_left: false,
            all_sent_at: 0,
            has_closed: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            head_begins: Arc::default(),
        }
    }
}

impl State {
    fn is_all_sent(&self) -> bool {
        let is_http1 = matches!(self.read, Read::Http1(_));
        is_http1 && self.in_hand.is_empty() && self.all_sent_at == self.asked
    }
}

impl Activity {
    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Ok(mut state) = self.state.lock() {
            change(&mut state);
            state.changed = Instant::now();
        }
    }

    /// A request has come, with a body of this length; of HTTP/2 that is nobody's business.
    pub(super) fn begin(&self, body: Length) -> InHand {
        let mut number = 0;
        self.change(|state| {
            state.asked += 1;
            number = state.asked;
            state.in_hand.insert(number, Instant::now());
            if let Read::Http1(heads) = &mut state.read {
                state.head_began = None;
                state.has_body_left = body != Length::Bytes(0);
                heads.ends(body);
            }
        });
        let activity = self.clone();
        InHand { activity, number }
    }

    fn end(&self, number: u64) {
        self.change(|state| {
            state.in_hand.remove(&number);
            if let Read::Http1(heads) = &mut state.read
                && heads.is_answered()
            {
                state.head_began = Some(Instant::now());
                self.head_begins.notify_one();
            }
        });
    }

    /// Of HTTP/1: the body of the request in hand was read to its end.
    pub(super) fn body_has_ended(&self) {
        self.change(|state| state.has_body_left = false);
    }

    /// Whether the client may be sending a body that nobody reads any more.
    pub(super) fn has_body_left(&self) -> bool {
        self.state.lock().is_ok_and(|state| state.has_body_left)
    }

    /// What was written has gone out. A head that has begun meanwhile was not read: its time begins now.
    pub(super) fn has_sent(&self) {
        if let Ok(mut state) = self.state.lock()
            && state.in_hand.is_empty()
            && state.all_sent_at < state.asked
        {
            state.all_sent_at = state.asked;
            if state.head_began.is_some() {
                state.head_began = Some(Instant::now());
                self.head_begins.notify_one();
            }
        }
    }

    /// Of HTTP/1: whether all that was asked is answered, and the answers have gone out.
    pub(super) fn is_all_sent(&self) -> bool {
        self.state.lock().is_ok_and(|state| state.is_all_sent())
    }

    pub(super) fn has_closed(&self) {
        self.change(|state| state.has_closed = true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_ok_and(|state| state.has_closed)
    }

    /// Bytes came. Of HTTP/1 they begin a head while nothing is in hand, or go on with it.
    pub(super) fn has_read(&self, bytes: &[u8]) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        let now = Instant::now();
        let began = state.head_began;
        state.head_began = match &mut state.read {
            Read::Http1(heads) => {
                heads.read(bytes);
                // An empty line before a head is passed over (RFC 9112 §2.2).
                let is_empty = bytes.iter().all(|byte| b"\r\n".contains(byte));
                let begins = state.in_hand.is_empty() && !is_empty;
                began.or(begins.then_some(now))
            }
            Read::Http2(frames) => {
                let has_ended = frames.read(bytes);
                let began = began.filter(|_| !has_ended);
                frames.is_within().then(|| began.unwrap_or(now))
            }
        };
        if state.head_began.is_some() {
            self.head_begins.notify_one();
        }
    }

    /// Whether the end of a head of HTTP/1 is still to come.
    pub(super) fn is_in_head(&self) -> bool {
        let state = self.state.lock();
        state.is_ok_and(|state| matches!(&state.read, Read::Http1(heads) if heads.is_in_head()))
    }

    /// What was read was the preface of HTTP/2, and no head.
    pub(super) fn is_of_http2(&self) {
        self.change(|state| {
            state.read = Read::Http2(Frames::default());
            state.head_began = None;
        });
    }

    /// What has begun was refused.
    pub(super) fn head_is_refused(&self) {
        self.change(|state| state.head_began = None);
    }

    /// Returns when a head has begun so long ago and is not whole.
    pub(super) async fn head_takes(&self, limit: Duration) {
        loop {
            let began = self.state.lock().ok().and_then(|state| {
                let is_read = state.is_all_sent() || !matches!(state.read, Read::Http1(_));
                state.head_began.filter(|_| is_read)
            });
            match began {
                None => self.head_begins.notified().await,
                Some(began) if began.elapsed() >= limit => return,
                // Another one that begins meanwhile ends later.
                Some(began) => sleep_until(began + limit).await,
            }
        }
    }

    /// Since when nothing is asked. A head that has begun is no idleness: it has a limit of its own.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock().ok()?;
        (state.in_hand.is_empty() && state.head_began.is_none()).then_some(state.changed)
    }

    /// Returns when nothing was asked for so long. A head that has begun meanwhile ends that.
    pub(super) async fn asks_nothing_for(&self, limit: Duration) {
        loop {
            match self.idle_since() {
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => sleep_until(since + limit).await,
                None => sleep_until(Instant::now() + limit).await,
            }
        }
    }

    /// Until then it may be idle.
    pub(super) fn idle_until(&self, limit: Duration) -> Instant {
        let changed = self.state.lock().map(|state| state.changed);
        changed.unwrap_or_else(|_| Instant::now()) + limit
    }

    /// Of HTTP/1: returns when nothing was asked for so long, and all that was asked before is done with.
    pub(super) async fn rests_for(&self, limit: Duration) {
        loop {
            let since = self.state.lock().ok().and_then(|state| {
                let rests = state.is_all_sent() && state.head_began.is_none();
                (rests && !state.has_closed).then_some(state.changed)
            });
            match since {
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => sleep_until(since + limit).await,
                None => sleep_until(Instant::now() + limit).await,
            }
        }
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
            let ends = self.idle_until(limit);
            let none_in_hand = self.state.lock().is_ok_and(|it| it.in_hand.is_empty());
            if none_in_hand && ends <= Instant::now() {
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
        self.activity.end(self.number);
    }
}
