//! The one way to write.

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use metrics::counter;
use mongodb::{
    Client, ClientSession,
    error::{Error as MongoError, ErrorKind},
};
use tokio::time::sleep;

use crate::{
    Abort, Db, Error, TransactionError,
    error::{is_answer, is_unavailable},
    metrics::{self as measured, TRANSACTION_RETRIES},
    writes::{LOOK_AGAIN, STALLED_AFTER},
};

/// Of a write that shows whether writes are answered.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

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
        let access = Arc::clone(&self.0.access);
        let (client, number) = (access.database().client().clone(), access.number());
        let began = Instant::now();
        let attempts_end = began + self.0.timing.attempts_end;
        let under_way = Arc::new(self.0.writes.begin(attempts_end.into()).await?);
        let shared = Arc::new((context, attempt));
        let task = self.0.tasks.spawn(async move {
            let heard = Arc::clone(&under_way);
            let attempted = run(&client, attempts_end, move |session| {
                let (shared, heard) = (Arc::clone(&shared), Arc::clone(&heard));
                Box::pin(async move {
                    let (context, attempt) = &*shared;
                    match attempt(session, context).await {
                        Ok(done) => Ok(Attempted::Done(done)),
                        Err(Abort::Refused(why)) => Ok(Attempted::Refused(why)),
                        Err(Abort::Driver(error)) => {
                            if is_answer(&error) {
                                heard.is_answered();
                            }
                            Err(error)
                        }
                    }
                })
            });
            let attempted = attempted.await;
            access.heed(&attempted, number);
            let ended = match attempted {
                Ok(Attempted::Done(done)) => Ok(done),
                Ok(Attempted::Refused(why)) => Err(TransactionError::Refused(why)),
                // The closure had the collections of another client than the session.
                Err(error) if access.number() != number => Err(Error::Unavailable(error).into()),
                Err(error) => Err(error.into()),
            };
            if !matches!(&ended, Err(TransactionError::Failed(Error::Unavailable(error))) if !is_answer(error)) {
                under_way.is_answered();
            }
            measured::transaction(began, &ended);
            ended
        });
        let ended = tokio::select! {
            ended = task => ended,
            never = self.tell_of_a_stall() => match never {},
        };
        ended
            .unwrap_or_else(|panicked| Err(Error::Failed(io::Error::other(panicked).into()).into()))
    }

    /// Says in the log that writes stall and why, once however many wait; not where the transaction alone takes so long.
    async fn tell_of_a_stall(&self) -> Infallible {
        sleep(STALLED_AFTER).await;
        loop {
            if self.0.writes.may_stall() {
                let db = self.clone();
                // The request may end before it is known.
                tokio::spawn(async move {
                    let why = match db.bounded(PROBE_LIMIT, db.clone().probe()).await {
                        Ok(_) => db.0.writes.why_they_hang(),
                        Err(_) => Some(db.why_writes_stall(STALLED_AFTER, PROBE_LIMIT).await),
                    };
                    db.0.writes.looked_into(why);
                });
            }
            sleep(LOOK_AGAIN).await;
        }
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
    let (mut is_first, mut met) = (true, None);
    let attempt = async move |session: &mut ClientSession| {
        if !std::mem::take(&mut is_first) {
            counter!(TRANSACTION_RETRIES).increment(1);
        }
        let before = met.take();
        if Instant::now() >= attempts_end {
            return Err(given_up(before));
        }
        once(session).await.map_err(|error| {
            let error = without_retry(error);
            met = Some(error.clone());
            error
        })
    };
    session.start_transaction().and_run2(attempt).await
}

/// What the last attempt met, without the labels by which the driver would try again.
fn given_up(met: Option<MongoError>) -> MongoError {
    let met = met.map(|error| MongoError::from(*error.kind));
    let met = met.filter(is_unavailable);
    met.unwrap_or_else(|| io::Error::from(io::ErrorKind::TimedOut).into())
}

/// The driver tries again where no connection could be had, also where that was because our password is wrong.
fn without_retry(error: MongoError) -> MongoError {
    match *error.kind {
        ErrorKind::Authentication { .. } => (*error.kind).into(),
        _ => error,
    }
}
