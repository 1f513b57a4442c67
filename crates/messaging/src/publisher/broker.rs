//! Whether the stream answers. After a failure it is asked, once for all failures of a moment.

use std::sync::Arc;

use tokio::{task::JoinHandle, time::Instant};

use super::{Publisher, pauses::Pauses};
use crate::jetstream::Found;

/// The broker, as this instance sees it.
pub(super) struct Broker {
    publisher: Arc<Publisher>,
    asked: Option<JoinHandle<anyhow::Result<Found>>>,
    /// Since when nothing can be published; while it is asked for the first time that is not sure.
    failing_since: Option<Instant>,
    is_away: bool,
    again: Instant,
    pauses: Pauses,
    /// What was logged last of a stream that is unfit.
    unfit: String,
}

impl Broker {
    pub(super) fn new(publisher: &Arc<Publisher>) -> Self {
        let timing = publisher.timing;
        Self {
            publisher: Arc::clone(publisher),
            asked: None,
            failing_since: None,
            is_away: false,
            again: Instant::now(),
            pauses: Pauses::new(timing.first_retry, timing.longest_retry),
            unfit: String::new(),
        }
    }

    /// Whether nothing can be published for now.
    pub(super) fn is_away(&self) -> bool {
        self.is_away
    }

    /// A publication that was begun at `began` failed: whose failure it is, the stream is asked.
    pub(super) fn failed(&mut self, began: Instant) {
        self.failing_since.get_or_insert(began);
        if !self.is_away && self.asked.is_none() {
            self.ask();
        }
    }

    pub(super) fn is_cut_off(&mut self, now: Instant) {
        self.failing_since.get_or_insert(now);
        self.is_away = true;
        self.again = now;
        // A question that was sent over the lost connection is not answered any more.
        self.asked = None;
    }

    /// When it is to be asked again, once it is connected.
    pub(super) fn next_question(&self) -> Option<Instant> {
        let asks = self.is_away && self.asked.is_none() && self.publisher.jetstream.is_connected();
        asks.then_some(self.again)
    }

    pub(super) fn ask_again(&mut self, now: Instant) {
        if self.next_question().is_some_and(|at| at <= now) {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let publisher = Arc::clone(&self.publisher);
        self.asked = Some(tokio::spawn(async move { publisher.check_stream().await }));
    }

    /// Returns when it answered or failed to, where it was asked; what [`Broker::take`] takes.
    pub(super) async fn answer(&mut self) -> anyhow::Result<Found> {
        let Some(asked) = &mut self.asked else {
            return std::future::pending().await;
        };
        let answer = asked.await;
        self.asked = None;
        answer.map_err(anyhow::Error::from).flatten()
    }

    /// It has answered, or failed to; whether it has.
    pub(super) fn take(&mut self, answer: &anyhow::Result<Found>, now: Instant) -> bool {
        if let Err(error) = answer {
            if !self.is_away {
                let error = format!("{error:#}");
                tracing::warn!(error, "the stream cannot be used; events wait");
            }
            self.is_away = true;
            self.again = now + self.pauses.next();
            return false;
        }
        let unfit = match answer {
            Ok(Found::Unfit(why)) => why.as_str(),
            _ => "",
        };
        if self.unfit != unfit {
            self.unfit = unfit.to_owned();
            if unfit.is_empty() {
                tracing::info!("the stream is fit again");
            } else {
                let why = unfit;
                tracing::error!(
                    why,
                    "the stream is not what it was; what it does not take waits"
                );
            }
        }
        if self.is_away {
            tracing::info!("the stream answers again");
        }
        self.is_away = false;
        self.failing_since = None;
        self.pauses.start_again();
        true
    }

    /// Since when, and why, another instance should publish, where one waits.
    pub(super) fn is_for_another(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let timing = self.publisher.timing;
        let since = self.failing_since.filter(|_| self.is_away)?;
        let (limit, why) = if self.publisher.jetstream.is_connected() {
            (timing.failing_limit, "the stream does not answer")
        } else {
            (timing.unconnected_limit, "there is no connection to NATS")
        };
        (now.duration_since(since) >= limit).then_some((since, why))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use db::{Db, MongoOptions};
    use secrecy::SecretString;

    use super::*;
    use crate::{JetStream, Outbox, Timing, jetstream::nowhere};

    /// Of servers that are not there.
    pub(in crate::publisher) async fn publisher() -> Arc<Publisher> {
        let mongo_uri = SecretString::from("mongodb://127.0.0.1:1/none");
        let db = Db::connect(&MongoOptions { mongo_uri }, "shop", db::Timing::default()).await;
        let jetstream = JetStream::connect(&nowhere(""), "shop", &[], Timing::default()).await;
        let outbox = Outbox::new(&db.unwrap());
        let retention = Duration::from_secs(1);
        Arc::new(Publisher::new(&outbox, jetstream.unwrap(), retention))
    }

    #[tokio::test]
    async fn all_failures_of_a_moment_are_one_question() {
        let mut broker = Broker::new(&publisher().await);
        broker.failed(Instant::now());
        let asked = broker.asked.as_ref().map(JoinHandle::id);
        broker.failed(Instant::now());
        assert_eq!(broker.asked.as_ref().map(JoinHandle::id), asked);
        assert!(asked.is_some() && !broker.is_away());
    }

    #[tokio::test]
    async fn a_question_that_was_sent_over_a_lost_connection_is_not_waited_for() {
        let mut broker = Broker::new(&publisher().await);
        broker.failed(Instant::now());
        broker.is_cut_off(Instant::now());
        assert!(broker.asked.is_none());
        assert!(broker.is_away());
        assert_eq!(broker.next_question(), None, "first it has to be connected");
    }
}
