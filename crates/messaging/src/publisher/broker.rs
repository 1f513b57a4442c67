//! Whether the stream answers. After a failure it is asked, once for all failures of a moment.

use std::sync::Arc;

use tokio::{task::JoinHandle, time::Instant};

use super::{Publisher, Trouble};
use crate::{jetstream::StreamState, pauses::Pauses, told::Told};

/// The broker, as this instance sees it.
pub(super) struct Broker {
    publisher: Arc<Publisher>,
    asked: Option<JoinHandle<anyhow::Result<StreamState>>>,
    /// Publications have failed since then. Until the stream has been asked, that may have been a key's failure.
    failing_since: Option<Instant>,
    is_away: bool,
    /// When the stream is asked next.
    again: Instant,
    pauses: Pauses,
    told: Told,
    /// What was logged last of a stream that does not take all that is ours.
    narrow: String,
}

impl Broker {
    pub(super) fn new(publisher: &Arc<Publisher>) -> Self {
        let timing = publisher.timing;
        Self {
            publisher: Arc::clone(publisher),
            asked: None,
            failing_since: None,
            is_away: false,
            again: Instant::now() + timing.stream_look,
            pauses: Pauses::new(timing.first_retry, timing.longest_retry),
            told: Told::default(),
            narrow: String::new(),
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

    /// When it is to be asked again, once it is connected: soon where it is away, else from time to time, for somebody may alter it.
    pub(super) fn next_question(&self) -> Option<Instant> {
        let asks = self.asked.is_none() && self.publisher.jetstream.is_connected();
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

    /// Returns when it answered or failed to, where it was asked; what [`Broker::heed`] takes.
    pub(super) async fn answer(&mut self) -> anyhow::Result<StreamState> {
        let Some(asked) = &mut self.asked else {
            return std::future::pending().await;
        };
        let answer = asked.await;
        self.asked = None;
        answer.map_err(anyhow::Error::from).flatten()
    }

    /// It has answered, or failed to; whether it has.
    pub(super) fn heed(&mut self, answer: &anyhow::Result<StreamState>, now: Instant) -> bool {
        let unusable = match answer {
            Err(error) => Some(format!("{error:#}")),
            Ok(StreamState::Unfit(why)) => Some(why.clone()),
            Ok(_) => None,
        };
        if let Some(error) = unusable {
            self.told
                .tell("the stream cannot be used; events wait", error);
            self.failing_since.get_or_insert(now);
            self.is_away = true;
            self.again = now + self.pauses.next();
            return false;
        }
        let narrow = match answer {
            Ok(StreamState::Narrow(why)) => why.as_str(),
            _ => "",
        };
        if self.narrow != narrow {
            self.narrow = narrow.to_owned();
            if narrow.is_empty() {
                tracing::info!("the stream is fit again");
            } else {
                let why = narrow;
                tracing::error!(
                    why,
                    "the stream is not what it was; what it does not take waits"
                );
            }
        }
        if self.is_away {
            tracing::info!("the stream answers again");
        }
        self.told.is_over();
        self.is_away = false;
        self.failing_since = None;
        self.pauses.start_again();
        self.again = now + self.publisher.timing.stream_look;
        true
    }

    /// Where the broker has been away for long.
    pub(super) fn trouble(&self, now: Instant) -> Option<Trouble> {
        let timing = self.publisher.timing;
        let since = self.failing_since.filter(|_| self.is_away)?;
        let (limit, why) = if self.publisher.jetstream.is_connected() {
            (timing.failing_limit, "the stream does not answer")
        } else {
            (timing.unconnected_limit, "there is no connection to NATS")
        };
        (now.duration_since(since) >= limit).then_some(Trouble { since, why })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use db::{Db, MongoOptions};
    use futures_util::FutureExt;
    use secrecy::SecretString;

    use super::*;
    use crate::{
        JetStream, Outbox, Timing,
        jetstream::{connected, nowhere},
    };

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

    /// One that has a connection.
    async fn connected_broker() -> Broker {
        let publisher = publisher().await;
        let publisher = Publisher {
            jetstream: connected(&publisher.jetstream),
            ..(*publisher).clone()
        };
        Broker::new(&Arc::new(publisher))
    }

    #[tokio::test]
    async fn a_broker_that_is_away_is_asked_again_with_growing_pauses_as_soon_as_it_is_connected() {
        let mut broker = connected_broker().await;
        let now = Instant::now();
        let first = broker.publisher.timing.first_retry;
        broker.ask_again(now);
        assert!(broker.asked.is_none(), "it is not away");
        broker.is_cut_off(now);
        assert_eq!(broker.next_question(), Some(now), "at once");
        let no_answer = Err(anyhow::anyhow!("time-out"));
        let mut pauses = Vec::new();
        for _ in 0..3 {
            assert!(!broker.heed(&no_answer, now));
            assert!(broker.is_away());
            pauses.push(broker.next_question().unwrap() - now);
        }
        assert!(pauses[0] >= first && pauses[2] >= 4 * first, "{pauses:?}");
        broker.ask_again(now);
        assert!(broker.asked.is_none(), "the pause is not over");
        broker.ask_again(now + pauses[2]);
        assert!(broker.asked.is_some());
        assert_eq!(broker.next_question(), None, "it is asked");
        broker.asked = None;
        assert!(broker.heed(&Ok(StreamState::There), now));
        assert!(!broker.is_away());
        assert!(!broker.heed(&no_answer, now));
        assert!(broker.next_question().unwrap() - now <= 2 * first);
    }

    #[tokio::test]
    async fn with_the_broker_away_a_failure_is_no_question() {
        let mut broker = connected_broker().await;
        broker.is_cut_off(Instant::now());
        broker.failed(Instant::now());
        assert!(broker.asked.is_none());
    }

    #[tokio::test]
    async fn no_answer_comes_where_nothing_was_asked_and_the_one_that_came_is_taken_once() {
        let mut broker = connected_broker().await;
        assert!(broker.answer().now_or_never().is_none());
        broker.asked = Some(tokio::spawn(async { Ok(StreamState::There) }));
        assert_eq!(broker.answer().await.unwrap(), StreamState::There);
        assert!(broker.asked.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_is_not_what_it_was_is_told_until_it_is_fit_again() {
        let mut broker = connected_broker().await;
        let now = Instant::now();
        let narrow = StreamState::Narrow("takes little".to_owned());
        assert!(broker.heed(&Ok(narrow), now));
        assert_eq!(broker.narrow, "takes little");
        assert!(broker.heed(&Ok(StreamState::There), now));
        assert_eq!(broker.narrow, "");
    }

    #[tokio::test]
    async fn a_stream_that_answers_is_looked_at_from_time_to_time_and_one_that_is_unfit_is_away() {
        let mut broker = connected_broker().await;
        let (now, look) = (Instant::now(), Timing::default().stream_look);
        assert!(broker.heed(&Ok(StreamState::There), now));
        assert_eq!(broker.next_question(), Some(now + look));
        assert!(!broker.heed(&Ok(StreamState::Unfit("sealed".to_owned())), now));
        assert!(broker.is_away() && broker.next_question() < Some(now + look));
        let limit = Timing::default().failing_limit;
        assert!(broker.trouble(now + limit).is_some());
    }

    #[tokio::test]
    async fn another_instance_should_try_where_the_broker_was_away_for_so_long() {
        let now = Instant::now();
        let limits = Timing::default();
        for (mut broker, limit, why) in [
            (
                Broker::new(&publisher().await),
                limits.unconnected_limit,
                "there is no connection to NATS",
            ),
            (
                connected_broker().await,
                limits.failing_limit,
                "the stream does not answer",
            ),
        ] {
            broker.failed(now);
            assert_eq!(broker.trouble(now + 2 * limit), None, "it is asked");
            broker.is_cut_off(now + limit / 2);
            let before = Duration::from_millis(1);
            assert_eq!(broker.trouble(now + limit - before), None);
            assert_eq!(
                broker.trouble(now + limit),
                Some(Trouble { since: now, why })
            );
            broker.heed(&Ok(StreamState::There), now);
            assert_eq!(broker.trouble(now + 2 * limit), None);
            broker.is_cut_off(now + limit);
            assert_eq!(broker.trouble(now + limit), None, "it is away anew");
        }
    }
}
