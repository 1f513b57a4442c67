//! Whether MongoDB answers. After a failure it is asked, once for all failures of a moment: else the failure is the message's.

use std::time::Duration;

use db::Db;
use tokio::{task::JoinHandle, time::Instant};

use crate::{Timing, pauses::Pauses, told::Told};

pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Database {
    db: Db,
    asked: Option<JoinHandle<Result<(), String>>>,
    is_away: bool,
    again: Instant,
    pauses: Pauses,
    told: Told,
}

impl Database {
    pub(super) fn new(db: &Db, timing: Timing) -> Self {
        Self {
            db: db.clone(),
            asked: None,
            is_away: false,
            again: Instant::now(),
            pauses: Pauses::new(timing.first_retry, timing.longest_retry),
            told: Told::default(),
        }
    }

    /// Whether nothing is to be tried: it is asked, or is away.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_away || self.asked.is_some()
    }

    pub(super) fn is_away(&self) -> bool {
        self.is_away
    }

    /// A transaction failed: whose failure it is, MongoDB is asked.
    pub(super) fn failed(&mut self) {
        if !self.is_in_doubt() {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let db = self.db.clone();
        self.asked = Some(tokio::spawn(async move { db.check(ANSWERS_WITHIN).await }));
    }

    /// When it is to be asked again.
    pub(super) fn next_question(&self) -> Option<Instant> {
        let asks = self.is_away && self.asked.is_none();
        asks.then_some(self.again)
    }

    pub(super) fn ask_again(&mut self, now: Instant) {
        if self.next_question().is_some_and(|at| at <= now) {
            self.ask();
        }
    }

    /// Returns when it has answered or failed to, where it was asked: whether it answers.
    pub(super) async fn answer(&mut self) -> bool {
        let Some(asked) = &mut self.asked else {
            return std::future::pending().await;
        };
        let answer = asked.await;
        self.asked = None;
        let answer = answer.unwrap_or_else(|panicked| Err(panicked.to_string()));
        match answer {
            Ok(()) => {
                if self.is_away {
                    tracing::info!("MongoDB answers again");
                }
                self.is_away = false;
                self.told.is_over();
                self.pauses.start_again();
            }
            Err(why) => {
                self.told.tell("MongoDB cannot be used; messages wait", why);
                self.is_away = true;
                self.again = Instant::now() + self.pauses.next();
            }
        }
        !self.is_away
    }
}
