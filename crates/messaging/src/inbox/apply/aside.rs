//! What can't be applied now, put aside in a transaction of its own.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    iter::{once, repeat},
    sync::Arc,
};

use db::{Abort, Error, TransactionError};

use super::{Applier, Job};
use crate::inbox::{
    dead_letters::{Letter, Put, Verdict, WAITING},
    marks::KeyOf,
    place::Place,
};

impl<C: Clone + Send + Sync + 'static> Applier<C> {
    /// Puts messages of one key aside, in the order of their versions, of which the first has `verdict`; the others wait for it. `None` where the first has become one that can be applied, or is.
    pub(crate) async fn put_aside(
        &self,
        stream: &str,
        jobs: Vec<Arc<Job>>,
        verdict: Verdict,
    ) -> Result<Option<Put>, Error> {
        let (inbox, consumer) = (self.inbox.clone(), self.consumer.name);
        let (order, stream) = (self.consumer.order, stream.to_owned());
        let context = (inbox, jobs, verdict, stream);
        let put = self.inbox.db.transaction(context, move |session, context| {
            Box::pin(async move {
                let (inbox, jobs, verdict, stream) = context;
                let first = &jobs[0];
                let key = &first.envelope.key;
                let of = KeyOf { consumer, key };
                let mark = inbox.mark(session, of).await?;
                let place = inbox
                    .place(session, of, order, mark.as_ref(), first)
                    .await?;
                let is_free = verdict.state == WAITING && place != Place::Ahead;
                if is_free || place == Place::Behind {
                    return Ok::<_, Abort<Infallible>>(None);
                }
                let waits = Verdict::waits();
                let verdicts = once(verdict).chain(repeat(&waits));
                let letters = letters(jobs.iter().zip(verdicts));
                let put = inbox.put_aside(session, (of, stream), &letters).await?;
                inbox.note_put_aside(session, of, mark.as_ref()).await?;
                Ok(Some(put))
            })
        });
        self.bounded(put).await
    }

    /// Puts messages of one key aside that come behind one whose turn is not over, and does not write the mark. Returns the versions that
    /// are put aside; the others are applied.
    pub(crate) async fn put_overflow(
        &self,
        stream: &str,
        jobs: Vec<Arc<Job>>,
    ) -> Result<(BTreeSet<i64>, Put), Error> {
        let (consumer, stream) = (self.consumer.name, stream.to_owned());
        let context = (self.inbox.clone(), jobs, stream);
        let put = self.inbox.db.transaction(context, move |session, context| {
            Box::pin(async move {
                let (inbox, jobs, stream) = context;
                let Some(first) = jobs.first() else {
                    return Ok(Default::default());
                };
                let key = &first.envelope.key;
                let of = KeyOf { consumer, key };
                let reached = inbox.mark(session, of).await?.and_then(|mark| mark.version);
                let ahead =
                    |job: &&Arc<Job>| reached.is_none_or(|reached| job.envelope.version > reached);
                let waits = Verdict::waits();
                let letters = letters(jobs.iter().filter(ahead).zip(repeat(&waits)));
                let put = inbox.put_aside(session, (of, stream), &letters).await?;
                let versions = letters.iter().map(|letter| letter.envelope.version);
                Ok::<_, Abort<Infallible>>((versions.collect(), put))
            })
        });
        self.bounded(put).await
    }

    async fn bounded<T>(
        &self,
        put: impl Future<Output = Result<T, TransactionError<Infallible>>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.write_limit, put).await {
            Ok(Ok(put)) => Ok(put),
            Ok(Err(TransactionError::Failed(error))) => Err(error),
            Ok(Err(TransactionError::Refused(never))) => match never {},
            Err(_) => Err(Error::Stalled),
        }
    }
}

fn letters<'a>(jobs: impl Iterator<Item = (&'a Arc<Job>, &'a Verdict)>) -> Vec<Letter<'a>> {
    let letters = jobs.map(|(job, verdict)| Letter {
        envelope: &job.envelope,
        message: &job.message,
        verdict,
    });
    letters.collect()
}
