//! Looks for what is put aside and is to be tried now.

use tokio::{task::JoinHandle, time::Instant};

use super::{consumer::Order, dead_letters::Due, marks::Inbox, timing::InboxTiming};

/// Read at a time.
const MOST: i64 = 256;

struct Found {
    due: Vec<Due>,
    /// By a sweep, where it was one.
    stuck: Option<Vec<Due>>,
}

pub(super) struct Looks {
    inbox: Inbox,
    consumer: (&'static str, Order),
    timing: InboxTiming,
    under_way: Option<JoinHandle<mongodb::error::Result<Found>>>,
    /// The key that the last sweep ended with, where there may be more behind it.
    swept: Option<String>,
    look_at: Instant,
    sweep_at: Instant,
}

impl Looks {
    pub(super) fn new(inbox: &Inbox, consumer: (&'static str, Order), timing: InboxTiming) -> Self {
        let now = Instant::now();
        Self {
            inbox: inbox.clone(),
            consumer,
            timing,
            under_way: None,
            swept: None,
            look_at: now,
            // What an instance left behind that died is found at once.
            sweep_at: now,
        }
    }

    /// When it is to be looked next; not while it is looked.
    pub(super) fn next(&self) -> Option<Instant> {
        self.under_way.is_none().then_some(self.look_at)
    }

    /// Something is to be tried then.
    pub(super) fn is_due(&mut self, at: Instant) {
        self.look_at = self.look_at.min(at);
    }

    pub(super) fn begin(&mut self, now: Instant) {
        if self.next().is_none_or(|at| at > now) {
            return;
        }
        self.look_at = now + self.timing.look;
        let sweeps = self.sweep_at <= now;
        if sweeps {
            self.sweep_at = now + self.timing.sweep;
        }
        let swept = self.swept.clone();
        let (inbox, consumer, limit) = (self.inbox.clone(), self.consumer, self.timing.write_limit);
        self.under_way = Some(tokio::spawn(async move {
            let db = inbox.db.clone();
            let look = async move {
                let due = inbox.clone().due(consumer.0, MOST).await?;
                let stuck = if sweeps {
                    Some(inbox.stuck(consumer, swept, MOST).await?)
                } else {
                    None
                };
                Ok(Found { due, stuck })
            };
            db.bounded(limit, look).await
        }));
    }

    /// Returns what is to be tried now, where it is looked for.
    pub(super) async fn found(&mut self) -> Vec<Due> {
        let Some(look) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let found = look.await;
        self.under_way = None;
        let found = found.map_err(anyhow::Error::from);
        let found = found.and_then(|found| Ok(found?));
        let Found { due, stuck } = match found {
            Ok(found) => found,
            Err(error) => {
                // The next look may find more.
                tracing::debug!(%error, "cannot look for what is put aside");
                return Vec::new();
            }
        };
        if let Some(stuck) = &stuck {
            let is_full = stuck.len() as i64 == MOST;
            let last = stuck.last().filter(|_| is_full);
            self.swept = last.map(|last| last.key.clone());
        }
        // A time that lies further ahead than any pause is none: a primary's clock was wrong.
        let longest = self.timing.longest_again * 2;
        let is_later = |due: &Due| !due.after.is_zero() && due.after <= longest;
        let (later, now): (Vec<_>, Vec<_>) = due
            .into_iter()
            .chain(stuck.unwrap_or_default())
            .partition(is_later);
        if let Some(after) = later.iter().map(|due| due.after).min() {
            self.is_due(Instant::now() + after);
        }
        now
    }
}
