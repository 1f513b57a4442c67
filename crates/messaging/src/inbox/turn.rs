//! A key's turn: its messages that are in hand, in the order of their versions. Nothing else of the key goes on meanwhile.

mod aside;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use db::{Error, cause};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use aside::Read;

use super::{
    apply::{Applier, Done, Job, NotDone},
    consumer::Order,
    database::ANSWERS_WITHIN,
    dead_letters::{RETRYING, Verdict},
    in_hand::Held,
    item::{Item, Lane, again},
    tallies::Tallies,
    verdicts,
};
use crate::{JetStream, Timing};

/// A message whose database answers fails so often before it is put aside.
const MOST_FAILURES: u32 = 3;

/// How a turn ended.
pub(super) struct Ended {
    pub(super) lane: Lane,
    /// What is not done.
    pub(super) left: VecDeque<Item>,
    /// Whose failure that is, if it is one.
    pub(super) failed: Option<Failed>,
    /// Something is to be tried again after this.
    pub(super) due: Option<Duration>,
    /// The last of it was put aside.
    pub(super) goes_aside: bool,
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
            goes_aside: false,
        };
        if failures > 0 {
            let Timing {
                first_retry,
                longest_retry,
                ..
            } = self.timing;
            let pause = verdicts::pause(first_retry, longest_retry, failures.into());
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
                // Before what is in hand of that version: it may be another message.
                Step::GoOnWith(version) => ended.left.push_front(Item::Aside(version)),
                Step::AllAside(due) => {
                    ended.due = due.into_iter().chain(ended.due).min();
                    ended.goes_aside = true;
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
        let mut job = job;
        let mut applied = self.apply(&job).await;
        if matches!(
            applied,
            Err(NotDone::NotYet {
                has_begun: false,
                ..
            })
        ) && self.is_base(&job).await
        {
            Arc::make_mut(&mut job).is_base = true;
            applied = self.apply(&job).await;
        }
        let verdict = match applied {
            Ok(done) => return self.done(&job, done, delivery),
            // It waits already.
            Err(NotDone::NotYet { is_noted: true, .. }) if delivery.is_none() => return Step::Done,
            Err(NotDone::NotYet { .. }) => Verdict::waits(),
            Err(NotDone::Busy | NotDone::Failed(_)) if failures >= MOST_FAILURES => {
                let reason = "MongoDB answers, and did not apply it in three attempts".to_owned();
                verdicts::again(&job, reason, false, self.timing)
            }
            Err(NotDone::Busy) => return Step::Failed(again(job, delivery), Failed::Keys),
            Err(NotDone::Failed(Error::Failed(error))) => {
                verdicts::again(&job, cause(&error), true, self.timing)
            }
            Err(NotDone::Failed(error)) => {
                tracing::debug!(%error, "a message is not applied");
                return Step::Failed(again(job, delivery), Failed::Unclear);
            }
            // It may have waited for MongoDB.
            Err(NotDone::TookTooLong) if !self.database_answers().await => {
                return Step::Failed(again(job, delivery), Failed::Unclear);
            }
            Err(NotDone::TookTooLong) => {
                let limit = self.timing.inbox.handler_limit;
                let reason = format!("its handler took longer than {limit:?}");
                verdicts::again(&job, reason, true, self.timing)
            }
            Err(NotDone::Handled(handled)) => verdicts::judged(&job, handled, self.timing),
        };
        self.put_aside(job, delivery, rest, verdict).await
    }

    async fn apply(&self, job: &Arc<Job>) -> Result<Done, NotDone> {
        let applied = self.applier.apply(job);
        self.tallies.traced(&job.envelope, applied).await
    }

    fn done(&self, job: &Job, done: Done, delivery: Option<(Held, Instant)>) -> Step {
        let (version, is_aside) = (job.envelope.version, delivery.is_none());
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
            Done::Late if is_aside && version < i64::MAX => Step::GoOnWith(version + 1),
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
            Ok(Some(put)) => {
                self.tallies.put_aside(&job.envelope, &verdict, &put);
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

    async fn database_answers(&self) -> bool {
        let db = &self.applier.inbox.db;
        db.check(ANSWERS_WITHIN).await.is_ok()
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
}
