//! One message, in one transaction: what its handler writes, the events that it records, and the mark.

mod aside;

use std::{sync::Arc, time::Duration};

use bson::doc;
use db::{Abort, Error, TransactionError, is_write_conflict};
use mongodb::ClientSession;

use super::{
    consumer::{Consumer, Handled, Order},
    dead_letters::{Conflict, WAITING},
    envelope::Envelope,
    marks::{Inbox, KeyOf, Mark},
    message::Message,
    place::Place,
};

/// Whoever has applied a message goes on with the next one; after this, others do.
const GOES_ON_WITHIN: Duration = Duration::from_secs(1);

/// A message of a key.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) envelope: Envelope,
    pub(crate) message: Message,
    /// Where it was put aside before.
    pub(crate) aside: Option<Attempts>,
    /// Whether the stream holds nothing earlier of its key, because it has lost its beginning.
    pub(crate) is_base: bool,
}

/// What was tried before a message was put aside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attempts {
    /// How often its handler was asked.
    pub(crate) asked: i64,
    pub(crate) panics: i64,
}

impl Job {
    fn conflict(&self, known: &str) -> Done {
        Done::Conflict(Conflict {
            version: self.envelope.version,
            message_id: self.envelope.message_id.clone(),
            known: known.to_owned(),
        })
    }
}

/// What became of a message whose transaction was committed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// By its handler, or because it is of a type that nobody knows here.
    Applied {
        is_known: bool,
        /// Whether the next version waits and can be applied now.
        goes_on: bool,
    },
    /// It is applied already, or a newer one is.
    Late,
    /// Another message of its version is known already.
    Conflict(Conflict),
    /// It is put aside already, and this is no attempt.
    Aside,
}

/// Why nothing was applied.
#[derive(Debug)]
pub(crate) enum NotDone {
    /// The version before it is not applied; whether anything of the key is.
    NotYet {
        has_begun: bool,
        /// Whether its mark says that something of it is put aside.
        is_noted: bool,
    },
    /// By its handler.
    Handled(Handled),
    /// Another transaction has its key, and does not end.
    Busy,
    /// By the database; not known whether it was committed.
    Failed(Error),
    /// Its handler.
    TookTooLong,
}

/// What a transaction works with.
struct Attempt<C> {
    consumer: Consumer<C>,
    context: C,
    inbox: Inbox,
    job: Arc<Job>,
    limit: Duration,
}

/// What applies messages.
pub(crate) struct Applier<C> {
    pub(crate) consumer: Consumer<C>,
    pub(crate) context: C,
    pub(crate) inbox: Inbox,
    /// A handler's.
    pub(crate) limit: Duration,
    /// Of a transaction without a handler.
    pub(crate) write_limit: Duration,
}

impl<C: Clone + Send + Sync + 'static> Applier<C> {
    /// Applies a message where its turn has come.
    pub(crate) async fn apply(&self, job: &Arc<Job>) -> Result<Done, NotDone> {
        let attempt = Attempt {
            consumer: self.consumer.clone(),
            context: self.context.clone(),
            inbox: self.inbox.clone(),
            job: Arc::clone(job),
            limit: self.limit,
        };
        let applied = self.inbox.db.transaction(attempt, |session, attempt| {
            Box::pin(async move { attempt.once(session).await })
        });
        // Its place, the commit and all other answers of MongoDB take their own time. A mark that is written later is found.
        match tokio::time::timeout(self.limit + self.write_limit, applied).await {
            Err(_) => Err(NotDone::Failed(Error::Stalled)),
            Ok(Ok(done)) => Ok(done),
            Ok(Err(TransactionError::Refused(not_done))) => Err(not_done),
            Ok(Err(TransactionError::Failed(Error::Unavailable(error))))
                if is_write_conflict(&error) =>
            {
                Err(NotDone::Busy)
            }
            Ok(Err(TransactionError::Failed(error))) => Err(NotDone::Failed(error)),
        }
    }
}

impl<C: Sync + 'static> Attempt<C> {
    /// The closure of the transaction.
    async fn once(&self, session: &mut ClientSession) -> Result<Done, Abort<NotDone>> {
        let (job, inbox, name) = (&*self.job, &self.inbox, self.consumer.name);
        let Envelope {
            key,
            version,
            message_id,
            ..
        } = &job.envelope;
        let of = KeyOf {
            consumer: name,
            key,
        };
        let mark = inbox.mark(session, of).await?;
        let mark = mark.as_ref();
        let order = self.consumer.order;
        match inbox.place(session, of, order, mark, job).await? {
            Place::Next => {}
            Place::Ahead => {
                let has_begun = mark.is_some_and(|mark| mark.version.is_some());
                let is_noted = mark.is_some_and(|mark| mark.put_aside.is_some());
                return Err(Abort::Refused(NotDone::NotYet {
                    has_begun,
                    is_noted,
                }));
            }
            Place::Behind => {
                if job.aside.is_some() {
                    inbox.settle(session, of, doc! { "$eq": version }).await?;
                }
                let applied = mark.filter(|mark| mark.version == Some(*version));
                // One that an operator gave up before it came has no id.
                let known = applied.map(|mark| &mark.message_id);
                let other = known.filter(|known| !known.is_empty() && *known != message_id);
                return Ok(other.map_or(Done::Late, |other| job.conflict(other)));
            }
        }
        let mut aside = Vec::new();
        if job.aside.is_some() || mark.is_some_and(|mark| mark.put_aside.is_some()) {
            aside = inbox.aside_from(session, of, *version).await?;
        }
        let itself = aside.iter().find(|aside| aside.version == *version);
        if job.aside.is_none()
            && let Some(itself) = itself
        {
            if itself.message_id != *message_id {
                return Ok(job.conflict(&itself.message_id));
            }
            if itself.state != WAITING {
                return Ok(Done::Aside);
            }
        }
        if job.aside.is_some() && itself.is_none() {
            // Somebody has given it up, or taken it away.
            return Ok(Done::Aside);
        }
        let is_known = self.consumer.knows(&job.envelope.r#type);
        if !is_known && order == Order::NewestOnly {
            // It was put aside when its type was known.
            inbox.settle(session, of, doc! { "$eq": version }).await?;
            let goes_on = false;
            return Ok(Done::Applied { is_known, goes_on });
        }
        if is_known {
            self.handle(session).await?;
        }
        let is_first = itself.is_some();
        let goes_on = self.mark(session, mark, &aside, is_first).await?;
        Ok(Done::Applied { is_known, goes_on })
    }

    /// Asks the handler. What it wrote goes, where it does not apply the message.
    async fn handle(&self, session: &mut ClientSession) -> Result<(), Abort<NotDone>> {
        let Job {
            envelope, message, ..
        } = &*self.job;
        let payload = &message.payload;
        let handled = self
            .consumer
            .handle(session, &self.context, envelope, payload);
        let handled = match tokio::time::timeout(self.limit, handled).await {
            Ok(handled) => Ok(handled?),
            Err(_) => Err(NotDone::TookTooLong),
        };
        let not_done = match handled {
            Ok(Handled::Applied) => return Ok(()),
            Ok(handled) => NotDone::Handled(handled),
            Err(not_done) => not_done,
        };
        // Its place is free for others at once.
        session.abort_transaction().await?;
        Err(Abort::Refused(not_done))
    }

    /// Moves the mark, and takes away what was put aside of the message and is resolved by it. Whether the next version waits.
    async fn mark(
        &self,
        session: &mut ClientSession,
        mark: Option<&Mark>,
        aside: &[super::dead_letters::Aside],
        is_aside: bool,
    ) -> Result<bool, Abort<NotDone>> {
        let (envelope, inbox) = (&self.job.envelope, &self.inbox);
        let (consumer, version) = (self.consumer.name, envelope.version);
        let of = KeyOf {
            consumer,
            key: &envelope.key,
        };
        let was_put_aside = mark.is_some_and(|mark| mark.put_aside.is_some());
        if (was_put_aside || is_aside) && self.consumer.order == Order::NewestOnly {
            inbox.settle(session, of, doc! { "$lte": version }).await?;
        } else if is_aside {
            inbox.settle(session, of, doc! { "$eq": version }).await?;
        }
        let behind = aside.iter().find(|aside| aside.version > version);
        inbox
            .move_mark(session, of, mark, envelope, behind.is_none())
            .await?;
        let next = behind.filter(|aside| version.checked_add(1) == Some(aside.version));
        let goes_on = next.filter(|aside| aside.state == WAITING);
        if let Some(next) = goes_on {
            // For others, where this instance dies before it goes on.
            inbox
                .set_due(session, of, next.version, GOES_ON_WITHIN)
                .await?;
        }
        Ok(goes_on.is_some())
    }
}
