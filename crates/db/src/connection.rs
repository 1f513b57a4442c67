//! The connection, collections with their indexes, and calls that end in time.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bson::{Timestamp, doc};
use mongodb::{
    Collection, Database, IndexModel, error::Error as MongoError, options::ClientOptions,
};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::{
    Error, MongoOptions, Timing,
    access::Access,
    client_options::{MAX_POOL_SIZE, client_options},
    error_code,
    health::Needs,
    metrics,
    reads::Reads,
    servers::Servers,
    setting::{Unusable, unusable},
    writes::Writes,
};

/// Transactions may use four of five connections. The rest is for reads.
const WRITES: u32 = 4;
const OF: u32 = 5;
/// Work beside the requests has this many connections of its own.
const POOL_SIZE_BESIDE: u32 = 16;
/// The most operations that wait for the database, those among them that nobody waits for any more. More than a service works
/// on at once.
pub(crate) const MOST_UNDER_WAY: usize = 1_024;

/// A handle to the service's database; clones share it.
///
/// One pointer, because each layer of the HTTP stack clones it for each request.
#[derive(Debug, Clone)]
pub struct Db(pub(crate) Arc<Shared>);

#[derive(Debug, Clone)]
pub(crate) struct Shared {
    servers: Servers,
    options: Arc<ClientOptions>,
    pub(crate) access: Arc<Access>,
    pub(crate) access_of_requests: Arc<Access>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) writes: Arc<Writes>,
    pub(crate) needs: Arc<Needs>,
    /// Why collections and indexes are not there: nothing, or what goes behind the sentence that says so.
    pub(crate) unprepared: Arc<Mutex<String>>,
    /// The service that the database belongs to, or is to belong to.
    pub(crate) service: Arc<str>,
    pub(crate) timing: Timing,
    pub(crate) tasks: TaskTracker,
    /// Apart, so that what hangs there keeps no request from being begun.
    tasks_beside: TaskTracker,
    /// Whether collections and indexes are there: a transaction must not meet a database without them.
    prepared: Arc<AtomicBool>,
}

impl Db {
    /// Makes the client. Nothing is connected yet: the operations find out whether the database is away. `service` is the
    /// program's name at the server, and the database's where the connection string names none.
    ///
    /// # Errors
    /// When the connection string asks for something that can't be had.
    pub async fn connect(
        options: &MongoOptions,
        service: &str,
        timing: Timing,
    ) -> Result<Self, Unusable> {
        let mut options = client_options(options, service, timing).await?;
        let servers = Servers::of(&options);
        options.sdam_event_handler = Some(servers.listener());
        let named = options.default_database.clone();
        let database = named.as_deref().unwrap_or(service);
        let access = Access::new(options.clone(), database, servers.clone(), None);
        let access = access.map_err(unusable("MONGO_URI"))?;
        let writes = options.max_pool_size.unwrap_or(MAX_POOL_SIZE) * WRITES / OF;
        Ok(Self(Arc::new(Shared {
            access_of_requests: Arc::clone(&access),
            access,
            servers,
            options: Arc::new(options),
            reads: Arc::default(),
            writes: Arc::new(Writes::new(writes as usize)),
            needs: Arc::default(),
            unprepared: Arc::default(),
            service: service.into(),
            timing,
            tasks: TaskTracker::new(),
            tasks_beside: TaskTracker::new(),
            prepared: Arc::default(),
        })))
    }

    /// The same database over connections of its own, for work beside the requests: it goes on where all of theirs hang.
    ///
    /// # Errors
    /// The driver's.
    pub fn beside(&self) -> mongodb::error::Result<Self> {
        let mut options = (*self.0.options).clone();
        options.max_pool_size = Some(POOL_SIZE_BESIDE);
        options.cmap_event_handler = Some(metrics::pool("beside"));
        let (database, servers) = (self.database(), self.0.servers.clone());
        let of_requests = &*self.0.access_of_requests;
        Ok(Self(Arc::new(Shared {
            access: Access::new(options, database.name(), servers, Some(of_requests))?,
            tasks: self.0.tasks_beside.clone(),
            ..(*self.0).clone()
        })))
    }

    /// Looks by the requests' connections: each client finds out by itself what the servers are.
    ///
    /// # Errors
    /// When the server is not of a replica set: it has no transactions. And the driver's.
    pub async fn check_replica_set(&self) -> mongodb::error::Result<()> {
        let requests = &self.0.access_of_requests;
        let number = requests.number();
        let hello = requests.database().run_command(doc! { "hello": 1 }).await;
        requests.heed(&hello, number);
        let hello = hello?;
        if hello.contains_key("setName") {
            return Ok(());
        }
        // A `String`: the driver shows no other custom error.
        Err(MongoError::custom(
            "MongoDB has to run as a replica set: there are no transactions without one".to_owned(),
        ))
    }

    /// What a failure is about, in a sentence for those who run the service: the servers and the cause, as far as they are known.
    pub fn explain(&self, error: &MongoError) -> String {
        self.0.servers.explain(error)
    }

    /// A collection of the service's database; reads and writes are acknowledged by a majority.
    pub fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.database().collection(name)
    }

    /// The service's database, by the connections of this moment: ask for it at each operation.
    pub fn database(&self) -> Database {
        self.0.access.database()
    }

    /// Makes a collection that is read and written, and its indexes, of which there may be none, where they are not there yet. Any
    /// number of instances may do so at once.
    ///
    /// # Errors
    /// The driver's.
    pub async fn ensure_collection(
        &self,
        name: &str,
        indexes: impl IntoIterator<Item = IndexModel>,
    ) -> mongodb::error::Result<()> {
        self.need(name, &["find", "insert", "update"]);
        self.make_collection(name, indexes).await
    }

    /// The same of a collection of which the caller says what it [needs](Self::need).
    ///
    /// # Errors
    /// The driver's.
    pub async fn make_collection(
        &self,
        name: &str,
        indexes: impl IntoIterator<Item = IndexModel>,
    ) -> mongodb::error::Result<()> {
        const NAMESPACE_EXISTS: i32 = 48;
        let mut indexes = indexes.into_iter().peekable();
        // An index makes its collection, and the server refuses to make no index.
        if indexes.peek().is_some() {
            let collection = self.collection::<()>(name);
            return collection.create_indexes(indexes).await.map(drop);
        }
        match self.database().create_collection(name).await {
            Err(error) if error_code(&error) != Some(NAMESPACE_EXISTS) => Err(error),
            _ => Ok(()),
        }
    }

    /// Says that collections and indexes are there: from now on requests are served.
    pub fn mark_prepared(&self) {
        self.0.prepared.store(true, Ordering::Release);
    }

    /// Whether requests are served.
    pub fn is_prepared(&self) -> bool {
        self.0.prepared.load(Ordering::Acquire)
    }

    /// How far a majority of the servers has come, by the server's logical clock.
    ///
    /// # Errors
    /// The driver's, or where the server does not say.
    pub async fn majority_time(&self) -> mongodb::error::Result<Timestamp> {
        let hello = self.database().run_command(doc! { "hello": 1 }).await?;
        let last_write = hello.get_document("lastWrite");
        let by_majority = last_write.and_then(|last| last.get_document("majorityOpTime"));
        let time = by_majority.and_then(|time| time.get_timestamp("ts"));
        time.map_err(|error| MongoError::custom(format!("hello says no majorityOpTime: {error}")))
    }

    /// Runs a call to its end in a task of its own, because a dropped driver future can corrupt its
    /// connection (RUST-937), and stops waiting for it after `limit`: the driver has no socket time-out.
    ///
    /// # Errors
    /// The driver's, or a time-out after `limit`.
    pub async fn bounded<T, F>(&self, limit: Duration, call: F) -> mongodb::error::Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        // What hangs would pile up.
        if self.0.tasks.len() >= MOST_UNDER_WAY {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        let access = Arc::clone(&self.0.access);
        let number = access.number();
        let call = self.0.tasks.spawn(async move {
            let ended = call.await;
            access.heed(&ended, number);
            ended
        });
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => Err(io::Error::other(panicked).into()),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    /// Runs a request's read, for [`Timing::read_limit`] at most.
    ///
    /// # Errors
    /// [`Error::NotReady`] or [`Error::Overloaded`] when it was not tried, [`Error::Unavailable`] and [`Error::Failed`] when it
    /// failed.
    pub async fn read<T, F>(&self, call: F) -> Result<T, Error>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.refuse_what_cannot_be_done()?;
        let ended = self.bounded(self.0.timing.read_limit, call).await;
        self.0.reads.heed(&ended);
        Ok(ended?)
    }

    /// Nothing is asked of a database that is not prepared: it may be another service's. And one that is cut off holds on to what
    /// was begun, longer than the requests wait for it.
    pub(crate) fn refuse_what_cannot_be_done(&self) -> Result<(), Error> {
        if !self.is_prepared() {
            return Err(Error::NotReady);
        }
        if let Some(refusal) = self.0.access.refusal() {
            return Err(Error::Unavailable(refusal));
        }
        if self.0.tasks.len() < MOST_UNDER_WAY {
            return Ok(());
        }
        Err(Error::Overloaded)
    }

    /// How many transactions there are places for.
    pub fn transactions_at_once(&self) -> usize {
        self.0.writes.most
    }

    /// Waits for the operations that are under way. What is begun meanwhile is waited for too.
    pub async fn drain(&self) {
        for tasks in [&self.0.tasks, &self.0.tasks_beside] {
            tasks.close();
            tasks.wait().await;
        }
    }
}
