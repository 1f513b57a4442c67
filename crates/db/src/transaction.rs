//! The one way to write.

use std::{io, sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use metrics::counter;
use mongodb::{Client, ClientSession};

use crate::{
    Abort, Db, Error, TransactionError,
    metrics::{self as measured, TRANSACTION_RETRIES},
};

/// The most operations that wait for the database, those among them that nobody waits for any more. More than a service works
/// on at once.
pub(crate) const MOST_UNDER_WAY: usize = 1_024;

impl Db {
    /// Runs `attempt` in one transaction and commits it. The task that runs it lives on when the caller is dropped, as a
    /// handler is when its client hangs up. `context` is what the closure works with; the task owns it.
    ///
    /// The driver may ask for more than one attempt, so ids and times are made outside the closure. The closure returns the
    /// driver's errors as they are, because their labels drive the retries. It boxes its future, since an async closure over a
    /// borrowed session is not provably `Send`: `|session, context| Box::pin(async move { … })`.
    ///
    /// # Errors
    /// What the closure refuses; [`Error::NotReady`] or [`Error::Overloaded`] when it was not run, [`Error::Unavailable`] when it
    /// is not known whether the transaction was committed, [`Error::Failed`] when the database refused it.
    pub async fn transaction<C, T, R, F>(
        &self,
        context: C,
        attempt: F,
    ) -> Result<T, TransactionError<R>>
    where
        C: Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
        F: for<'a> Fn(&'a mut ClientSession, &'a C) -> BoxFuture<'a, Result<T, Abort<R>>>
            + Send
            + Sync
            + 'static,
    {
        self.refuse_what_cannot_be_done()?;
        let client = self.client.clone();
        let began = Instant::now();
        let attempts_end = began + self.timing.attempts_end;
        let shared = Arc::new((context, attempt));
        let task = self.tasks.spawn(async move {
            let attempted = run(&client, attempts_end, move |session| {
                let shared = Arc::clone(&shared);
                Box::pin(async move {
                    let (context, attempt) = &*shared;
                    match attempt(session, context).await {
                        Ok(done) => Ok(Attempted::Done(done)),
                        Err(Abort::Refused(why)) => Ok(Attempted::Refused(why)),
                        Err(Abort::Driver(error)) => Err(error),
                    }
                })
            });
            let ended = match attempted.await {
                Ok(Attempted::Done(done)) => Ok(done),
                Ok(Attempted::Refused(why)) => Err(TransactionError::Refused(why)),
                Err(error) => Err(error.into()),
            };
            measured::transaction(began, &ended);
            ended
        });
        task.await
            .unwrap_or_else(|panicked| Err(Error::Failed(io::Error::other(panicked).into()).into()))
    }

    /// Nothing is asked of a database that is not prepared: it may be another service's. And one that is cut off holds on to what
    /// was begun, longer than the requests wait for it.
    pub(crate) fn refuse_what_cannot_be_done(&self) -> Result<(), Error> {
        if !self.is_prepared() {
            return Err(Error::NotReady);
        }
        if self.tasks.len() < MOST_UNDER_WAY {
            return Ok(());
        }
        Err(Error::Overloaded)
    }
}

/// What the driver commits.
enum Attempted<T, R> {
    Done(T),
    Refused(R),
}

/// Tries again as the driver says, for two minutes at most; no attempt begins after `attempts_end`.
async fn run<T, F>(client: &Client, attempts_end: Instant, mut once: F) -> mongodb::error::Result<T>
where
    F: for<'a> FnMut(&'a mut ClientSession) -> BoxFuture<'a, mongodb::error::Result<T>>,
{
    let mut session = client.start_session().await?;
    let mut is_first = true;
    let attempt = async move |session: &mut ClientSession| {
        if !std::mem::take(&mut is_first) {
            counter!(TRANSACTION_RETRIES).increment(1);
        }
        if Instant::now() >= attempts_end {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        once(session).await
    };
    session.start_transaction().and_run2(attempt).await
}
