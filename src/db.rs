//! The connection to MongoDB, and the one way to write: a transaction that no vanished client can cut short.

mod failure;
mod measure;
mod timing;

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Timestamp, doc};
use futures_util::future::BoxFuture;
use metrics::counter;
use mongodb::{
    Client, ClientSession, Collection, Database, IndexModel,
    error::{Error as MongoError, ErrorKind, Result as MongoResult},
    options::{ClientOptions, ReadConcern, WriteConcern},
};
use tokio_util::task::TaskTracker;

use crate::{
    config::{MongoConfig, SERVICE},
    error::Error,
    metrics::{HTTP_REFUSED, TRANSACTION_RETRIES},
};

pub use failure::error_code;
use failure::is_unavailable;
pub use timing::Timing;

/// The driver's 10 connections make a queue of a busy service's transactions.
const MAX_POOL_SIZE: u32 = 64;
/// Operations that wait for the database at most, those among them that nobody waits for any more; above what
/// `CONCURRENCY_LIMIT` may be.
const MOST_UNDER_WAY: usize = 1_024;

/// A handle to the service's database; clones share it.
#[derive(Debug, Clone)]
pub struct Db {
    client: Client,
    database: Database,
    timing: Timing,
    tasks: TaskTracker,
    /// Whether collections and indexes are there: a transaction must not meet a database without them.
    prepared: Arc<AtomicBool>,
}

impl Db {
    /// Makes the client. Nothing is connected yet: a database that is away is found out by the operations.
    ///
    /// # Errors
    /// When the connection string asks for something that can't be had.
    pub async fn new(config: &MongoConfig, timing: Timing) -> mongodb::error::Result<Self> {
        let mut options = loop {
            match ClientOptions::parse(config.uri()).await {
                // Of `mongodb+srv://`, whose servers are looked up here.
                Err(error) if matches!(*error.kind, ErrorKind::DnsResolve { .. }) => {
                    tracing::warn!(%error, again_in = ?timing.look_up_again, "waiting for the database's name");
                    tokio::time::sleep(timing.look_up_again).await;
                }
                parsed => break parsed?,
            }
        };
        options.app_name.get_or_insert_with(|| SERVICE.to_owned());
        options
            .server_selection_timeout
            .get_or_insert(timing.server_selection);
        options.connect_timeout.get_or_insert(timing.connect);
        options.max_pool_size.get_or_insert(MAX_POOL_SIZE);
        options.max_connecting.get_or_insert(8);
        options.cmap_event_handler = Some(measure::pool());
        // Transactions take these from the client, not from the collection.
        options.write_concern = Some(WriteConcern::majority());
        options.read_concern = Some(ReadConcern::majority());
        let name = options
            .default_database
            .clone()
            .unwrap_or_else(|| SERVICE.to_owned());
        let client = Client::with_options(options)?;
        let database = client.database(&name);
        Ok(Self {
            client,
            database,
            timing,
            tasks: TaskTracker::new(),
            prepared: Arc::default(),
        })
    }

    /// # Errors
    /// When the server is not of a replica set: it has no transactions. And the driver's.
    pub async fn check_replica_set(&self) -> mongodb::error::Result<()> {
        let hello = self.database.run_command(doc! { "hello": 1 }).await?;
        match hello.contains_key("setName") {
            true => Ok(()),
            // A `String`: the driver shows no other custom error.
            false => Err(MongoError::custom(
                "MongoDB has to run as a replica set: there are no transactions without one"
                    .to_owned(),
            )),
        }
    }

    /// A collection of the service's database; reads and writes are acknowledged by a majority.
    pub fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.database.collection(name)
    }

    /// The service's database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Makes a collection and its indexes where they are not there yet; any number of instances may at once.
    ///
    /// # Errors
    /// The driver's.
    pub async fn ensure_collection(
        &self,
        name: &str,
        indexes: impl IntoIterator<Item = IndexModel>,
    ) -> mongodb::error::Result<()> {
        const NAMESPACE_EXISTS: i32 = 48;
        match self.database.create_collection(name).await {
            Err(error) if error_code(&error) != Some(NAMESPACE_EXISTS) => return Err(error),
            _ => {}
        }
        self.collection::<()>(name)
            .create_indexes(indexes)
            .await
            .map(drop)
    }

    /// Says that collections and indexes are there: from now on writes are taken.
    pub fn mark_prepared(&self) {
        self.prepared.store(true, Ordering::Release);
    }

    /// Whether writes are taken.
    pub fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    /// How far a majority of the servers has come, by the server's logical clock.
    ///
    /// # Errors
    /// The driver's, or where the server does not say.
    pub async fn majority_time(&self) -> mongodb::error::Result<Timestamp> {
        let hello = self.database.run_command(doc! { "hello": 1 }).await?;
        let last_write = hello.get_document("lastWrite");
        let by_majority = last_write.and_then(|last| last.get_document("majorityOpTime"));
        let time = by_majority.and_then(|time| time.get_timestamp("ts"));
        time.map_err(|error| MongoError::custom(format!("hello says no majorityOpTime: {error}")))
    }

    /// Asks the primary for a sign of life.
    ///
    /// # Errors
    /// The driver's, or a time-out after `limit`.
    pub async fn ping(&self, limit: Duration) -> mongodb::error::Result<()> {
        let database = self.database.clone();
        self.bounded(limit, async move {
            database.run_command(doc! { "ping": 1 }).await.map(drop)
        })
        .await
    }

    /// Runs a call to its end in a task of its own, because a dropped driver future can corrupt its
    /// connection (RUST-937), and stops waiting for it after `limit`: the driver has no socket time-out.
    ///
    /// # Errors
    /// The driver's, or a time-out after `limit`.
    pub async fn bounded<T, F>(&self, limit: Duration, call: F) -> mongodb::error::Result<T>
    where
        F: Future<Output = MongoResult<T>> + Send + 'static,
        T: Send + 'static,
    {
        match tokio::time::timeout(limit, self.tasks.spawn(call)).await {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => Err(io::Error::other(panicked).into()),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    /// Runs a request's read, for [`Timing::read_limit`] at most.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when it was not tried, [`Error::Unavailable`] and [`Error::Internal`] when it failed.
    pub async fn read<T, F>(&self, call: F) -> Result<T, Error>
    where
        F: Future<Output = MongoResult<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.refuse_more_than_can_be_done()?;
        Ok(self.bounded(self.timing.read_limit, call).await?)
    }

    /// A database that is cut off holds on to what was begun, longer than the requests wait for it.
    fn refuse_more_than_can_be_done(&self) -> Result<(), Error> {
        if self.tasks.len() < MOST_UNDER_WAY {
            return Ok(());
        }
        counter!(HTTP_REFUSED).increment(1);
        Err(Error::Overloaded)
    }

    /// Runs `run` in one transaction and commits it. It may be run more than once, so ids and times are made outside
    /// it, and it must return the driver's errors as they are: their labels drive the retries. What it refuses is
    /// committed too, so that a majority stands behind what it has read: it takes back or aborts what it wrote before.
    /// The task lives on when the caller is dropped, as a handler is when its client hangs up.
    ///
    /// # Errors
    /// What `run` refuses; [`Error::NotReady`] or [`Error::Overloaded`] when it was not tried,
    /// [`Error::Unavailable`] when it is not known whether it was committed, [`Error::Internal`] when the database
    /// refused it.
    pub async fn transaction<T, F>(&self, mut run: F) -> Result<T, Error>
    where
        F: for<'a> FnMut(&'a mut ClientSession) -> BoxFuture<'a, MongoResult<Result<T, Error>>>
            + Send
            + 'static,
        T: Send + 'static,
    {
        if !self.is_prepared() {
            return Err(Error::NotReady);
        }
        self.refuse_more_than_can_be_done()?;
        let client = self.client.clone();
        let attempts_end = Instant::now() + self.timing.attempts_end;
        let began = Instant::now();
        let task = self.tasks.spawn(async move {
            let mut session = client.start_session().await?;
            let mut is_first = true;
            let attempt = async move |session: &mut ClientSession| {
                if !std::mem::take(&mut is_first) {
                    counter!(TRANSACTION_RETRIES).increment(1);
                }
                if Instant::now() >= attempts_end {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                run(session).await
            };
            let result = session.start_transaction().and_run2(attempt).await;
            measure::transaction(began, &result);
            result
        });
        match task.await {
            Ok(result) => result?,
            Err(panicked) => Err(Error::Internal(panicked.into())),
        }
    }

    /// Waits for the transactions that are under way; none may be begun any more.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests;
