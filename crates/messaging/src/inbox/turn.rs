//! A key's turn: its messages that are in hand, in the order of their versions. Nothing else of the key goes on meanwhile.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::doc;
use bytes::Bytes;
use db::{Error, cause};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    apply::{Applier, Done, Job, NotDone},
    consumer::{Handled, Order},
    dead_letters::{DEAD, PutAside, RETRYING, Verdict, WAITING},
    envelope::{Envelope, message_id, type_of},
    in_hand::Held,
    marks::KeyOf,
    message::Message,
    tallies::Tallies,
};
use crate::{JetStream, Timing, pauses::Pauses};

/// A message whose database answers fails so often before it is put aside.
const MOST_FAILURES: u32 = 3;
const MOST_PANICS: i64 = 3;

/// What goes on in one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Key(String),
    /// A message whose key or version can't be told, by its sequence.
    Alone(u64),
}

/// A message that is to be applied.
pub(super) enum Item {
    Delivered {
        job: Arc<Job>,
        held: Held,
        at: Instant,
    },
    /// It is put aside, and is read when its turn comes.
    Aside(i64),
    /// It tells no key or no version: why.
    Unplaced {
        message: Message,
        held: Held,
        reason: String,
    },
}

impl Item {
    pub(super) fn version(&self) -> i64 {
        match self {
            Self::Delivered { job, .. } => job.envelope.version,
            Self::Aside(version) => *version,
            Self::Unplaced { .. } => 0,
        }
    }

    /// The stream sends it again at once.
    pub(super) fn give_back(self) {
        match self {
            Self::Delivered { held, .. } | Self::Unplaced { held, .. } => held.give_back(),
            Self::Aside(_) => {}
        }
    }
}

/// How a turn ended.
pub(super) struct Ended {
    pub(super) lane: Lane,
    /// What is not done.
    pub(super) left: VecDeque<Item>,
    /// Whose failure that is, if it is one.
    pub(super) failed: Option<Failed>,
    /// Something is to be tried again after this.
    pub(super) due: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The database's, or the key's: whoever asks knows.
    Unclear,
    Keys,
}

/// What turns work with.
pub(super) struct Worker<C> {
    pub(super) applier: Applier<C>,
    pub(super) jetstream: JetStream,
    pub(super) tallies: Tallies,
    pub(super) timing: Timing,
    pub(super) stop: CancellationToken,
}

/// What was put aside.
enum Read {
    Job(Job),
    /// Its content is gone.
    Lost(Job),
}

/// What became of an item.
enum Step {
    Done,
    /// Then the version behind it, which waits.
    GoOnWith(i64),
    /// It is put aside, and the rest with it.
    AllAside(Option<Duration>),
    /// Again at once.
    Again(Item),
    Failed(Item, Failed),
}

impl<C: Clone + Send + Sync + 'static> Worker<C> {
    /// `failures`: how often the first item has failed although the database answers.
    pub(super) async fn turn(
        self: Arc<Self>,
        lane: Lane,
        items: VecDeque<Item>,
        failures: u32,
    ) -> Ended {
        let mut ended = Ended {
            lane,
            left: items,
            failed: None,
            due: None,
        };
        // By version; of the same, in the order of their coming.
        ended.left.make_contiguous().sort_by_key(Item::version);
        if failures > 0 {
            let pause = pause(
                self.timing.first_retry,
                self.timing.longest_retry,
                failures.into(),
            );
            self.stop.run_until_cancelled(sleep(pause)).await;
        }
        let mut failures = failures;
        while !self.stop.is_cancelled()
            && let Some(item) = ended.left.pop_front()
        {
            match self
                .step(&ended.lane, item, &mut ended.left, failures)
                .await
            {
                Step::Done => {}
                Step::GoOnWith(version) => {
                    let is_next = |item: &Item| item.version() == version;
                    if !ended.left.front().is_some_and(is_next) {
                        ended.left.push_front(Item::Aside(version));
                    }
                }
                Step::AllAside(due) => {
                    ended.due = due.into_iter().chain(ended.due).min();
                }
                Step::Again(item) => ended.left.push_front(item),
                Step::Failed(item, whose) => {
                    ended.left.push_front(item);
                    ended.failed = Some(whose);
                    break;
                }
            }
            failures = 0;
        }
        ended
    }

    async fn step(
        &self,
        lane: &Lane,
        item: Item,
        rest: &mut VecDeque<Item>,
        failures: u32,
    ) -> Step {
        let (job, delivery) = match item {
            Item::Unplaced {
                message,
                held,
                reason,
            } => return self.keep(message, held, reason).await,
            Item::Delivered { job, held, at } => (job, Some((held, at))),
            Item::Aside(version) => {
                let Lane::Key(key) = lane else {
                    return Step::Done;
                };
                match self.read(key, version).await {
                    Ok(Some(Read::Job(job))) => (Arc::new(job), None),
                    Ok(Some(Read::Lost(job))) => return self.bury(job).await,
                    Ok(None) => return Step::Done,
                    Err(error) => {
                        tracing::debug!(%error, "what is put aside is not read");
                        return Step::Failed(Item::Aside(version), Failed::Unclear);
                    }
                }
            }
        };
        let applied = self
            .tallies
            .traced(&job.envelope, self.applier.apply(&job))
            .await;
        let verdict = match applied {
            Ok(done) => return self.done(&job, done, delivery),
            Err(NotDone::NotYet { has_begun }) => {
                if !has_begun && !job.is_base && self.is_base(&job).await {
                    let job = Arc::new(Job {
                        is_base: true,
                        ..(*job).clone()
                    });
                    return Step::Again(again(job, delivery));
                }
                if delivery.is_none() {
                    // It waits already.
                    return Step::Done;
                }
                Verdict::waits()
            }
            Err(NotDone::Busy | NotDone::Failed(_)) if failures >= MOST_FAILURES => {
                let reason = "MongoDB answers, and did not apply it in three attempts".to_owned();
                self.again(&job, reason, false)
            }
            Err(NotDone::Busy) => return Step::Failed(again(job, delivery), Failed::Keys),
            Err(NotDone::Failed(Error::Failed(error))) => self.again(&job, cause(&error), true),
            Err(NotDone::Failed(error)) => {
                tracing::debug!(%error, "a message is not applied");
                return Step::Failed(again(job, delivery), Failed::Unclear);
            }
            Err(NotDone::TookTooLong) => {
                let limit = self.timing.inbox.handler_limit;
                self.again(
                    &job,
                    format!("its handler took longer than {limit:?}"),
                    true,
                )
            }
            Err(NotDone::Handled(handled)) => self.judged(&job, handled),
        };
        self.put_aside(job, delivery, rest, verdict).await
    }

    fn done(&self, job: &Job, done: Done, delivery: Option<(Held, Instant)>) -> Step {
        let version = job.envelope.version;
        self.tallies
            .done(&job.envelope, &done, delivery.as_ref().map(|(_, at)| *at));
        if job.is_base && matches!(done, Done::Applied { .. }) {
            self.tallies.base(&job.envelope);
        }
        if let Some((held, _)) = delivery {
            held.acknowledge();
        }
        match done {
            Done::Applied { goes_on: true, .. } => Step::GoOnWith(version + 1),
            _ => Step::Done,
        }
    }

    /// Puts a message aside, and what comes behind it of its key: in one transaction.
    async fn put_aside(
        &self,
        job: Arc<Job>,
        delivery: Option<(Held, Instant)>,
        rest: &mut VecDeque<Item>,
        verdict: Verdict,
    ) -> Step {
        let mut jobs = vec![Arc::clone(&job)];
        let mut behind = VecDeque::new();
        if self.applier.consumer.order == Order::EachVersion {
            // What is aside already stays there.
            behind = std::mem::take(rest);
            behind.retain(|item| matches!(item, Item::Delivered { .. }));
            jobs.extend(behind.iter().filter_map(|item| match item {
                Item::Delivered { job, .. } => Some(Arc::clone(job)),
                _ => None,
            }));
        }
        let stream = self.jetstream.stream_name();
        match self.applier.put_aside(stream, jobs, verdict.clone()).await {
            Ok(Some(others)) => {
                self.tallies.put_aside(&job.envelope, &verdict, &others);
                let held = behind.into_iter().filter_map(|item| match item {
                    Item::Delivered { held, .. } => Some(held),
                    _ => None,
                });
                delivery
                    .map(|(held, _)| held)
                    .into_iter()
                    .chain(held)
                    .for_each(Held::acknowledge);
                Step::AllAside((verdict.state == RETRYING).then_some(verdict.delay))
            }
            Ok(None) => {
                *rest = behind;
                Step::Again(again(job, delivery))
            }
            Err(error) => {
                tracing::debug!(%error, "a message is not put aside");
                *rest = behind;
                Step::Failed(again(job, delivery), Failed::Unclear)
            }
        }
    }

    /// Keeps what tells no key or no version. It holds nobody back.
    async fn keep(&self, message: Message, held: Held, reason: String) -> Step {
        let (stream, consumer) = (self.jetstream.stream_name(), self.applier.consumer.name);
        let letter = doc! {
            "reason": &reason, "messageId": message_id(&message, stream),
            "type": type_of(&message, self.jetstream.prefix()),
        };
        let (inbox, content) = (self.applier.inbox.clone(), message.clone());
        let kept = {
            let stream = stream.to_owned();
            async move { inbox.keep(consumer, &stream, &content, letter).await }
        };
        let db = &self.applier.inbox.db;
        match db.bounded(self.timing.inbox.write_limit, kept).await {
            Ok(()) => {
                self.tallies.unplaced(message.sequence, &reason);
                held.acknowledge();
                Step::Done
            }
            Err(_) => Step::Failed(
                Item::Unplaced {
                    message,
                    held,
                    reason,
                },
                Failed::Unclear,
            ),
        }
    }

    /// Reads what is put aside. `None` where it is not there any more, or nothing is to be done about it.
    async fn read(&self, key: &str, version: i64) -> anyhow::Result<Option<Read>> {
        let (inbox, name, owned) = (
            self.applier.inbox.clone(),
            self.applier.consumer.name,
            key.to_owned(),
        );
        let read = async move {
            inbox
                .letter(
                    KeyOf {
                        consumer: name,
                        key: &owned,
                    },
                    version,
                )
                .await
        };
        let letter = self
            .applier
            .inbox
            .db
            .bounded(self.timing.inbox.write_limit, read)
            .await?;
        let Some(letter) = letter.filter(|letter| [WAITING, RETRYING].contains(&&*letter.state))
        else {
            return Ok(None);
        };
        let aside = Some((letter.attempts, letter.panics));
        let PutAside {
            subject,
            content,
            sequence,
            published,
            message_id,
            r#type,
            ..
        } = letter;
        let there = match content {
            Some((headers, payload)) => Some(Message {
                subject,
                headers,
                payload,
                sequence,
                published,
            }),
            None => self.jetstream.message_at(sequence).await?,
        };
        let there = there.filter(|there| there.published == published);
        let is_lost = there.is_none();
        let message = there.unwrap_or_else(|| Message {
            subject: String::new(),
            headers: Bytes::new(),
            payload: Bytes::new(),
            sequence,
            published,
        });
        // The names are those that it was put aside under.
        let envelope = Envelope {
            key: key.to_owned(),
            version,
            message_id,
            r#type,
            traceparent: message.header("traceparent").map(str::to_owned),
            tracestate: message.header("tracestate").map(str::to_owned),
        };
        let job = Job {
            envelope,
            message,
            aside,
            is_base: false,
        };
        Ok(Some(if is_lost {
            Read::Lost(job)
        } else {
            Read::Job(job)
        }))
    }

    /// The stream has lost what was too large to be kept beside it.
    async fn bury(&self, job: Job) -> Step {
        let reason = "the stream does not hold it any more".to_owned();
        let verdict = self.judged(&job, Handled::Refused(reason));
        let (stream, version) = (self.jetstream.stream_name(), job.envelope.version);
        match self
            .applier
            .put_aside(stream, vec![Arc::new(job)], verdict)
            .await
        {
            Ok(_) => Step::Done,
            Err(_) => Step::Failed(Item::Aside(version), Failed::Unclear),
        }
    }

    /// Whether its key may begin with it. Where the stream can't be asked, a later sweep asks again.
    async fn is_base(&self, job: &Job) -> bool {
        let begins = self
            .jetstream
            .begins_with(&job.message, &job.envelope.key)
            .await;
        begins.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot ask whether a key begins here");
            false
        })
    }

    fn judged(&self, job: &Job, handled: Handled) -> Verdict {
        match handled {
            Handled::Panicked(reason) => {
                let verdict = self.again(job, reason, true);
                let panics = job.aside.unwrap_or_default().1 + 1;
                let state = if panics >= MOST_PANICS {
                    DEAD
                } else {
                    RETRYING
                };
                Verdict {
                    panics,
                    state,
                    ..verdict
                }
            }
            Handled::Refused(reason) => Verdict {
                state: DEAD,
                delay: Duration::ZERO,
                ..self.again(job, reason, true)
            },
            Handled::Again(reason) => self.again(job, reason, true),
            Handled::Applied => unreachable!("it is done"),
        }
    }

    fn again(&self, job: &Job, reason: String, is_counted: bool) -> Verdict {
        let (attempts, panics) = job.aside.unwrap_or_default();
        let attempts = attempts + i64::from(is_counted);
        let longest = self.timing.inbox.longest_again;
        Verdict {
            state: RETRYING,
            reason,
            attempts,
            panics,
            delay: pause(self.timing.first_retry, longest, attempts.max(1)),
        }
    }
}

fn again(job: Arc<Job>, delivery: Option<(Held, Instant)>) -> Item {
    match delivery {
        Some((held, at)) => Item::Delivered { job, held, at },
        None => Item::Aside(job.envelope.version),
    }
}

/// The pause before an attempt after so many.
fn pause(first: Duration, longest: Duration, attempts: i64) -> Duration {
    let mut pauses = Pauses::new(first, longest);
    let enough = 20;
    for _ in 1..attempts.min(enough) {
        pauses.next();
    }
    pauses.next()
}
