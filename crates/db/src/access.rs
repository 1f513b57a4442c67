//! Whether MongoDB takes our user and password, over one client's connections. While it does not, the driver spends seconds on each
//! operation before it says so, since it takes the server for gone: so a task asks, and everybody else is told at once.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bson::{Document, doc};
use mongodb::{
    Client, Database,
    error::{Error as MongoError, ErrorKind},
    options::ClientOptions,
};
use parking_lot::{Mutex, RwLock};
use tokio::time::{sleep, timeout};

use crate::{error::UNAUTHORIZED, servers::Servers};

pub(crate) const LOGGED_OUT: &str =
    "authentication at MongoDB failed: a command requires authentication, and no user is logged in";
const REAUTHENTICATION_REQUIRED: i32 = 391;
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The driver takes some seconds; a server that answers nothing else would be asked for ever.
const ASK_LIMIT: Duration = Duration::from_secs(15);

type Family = Arc<Mutex<Vec<Weak<Access>>>>;

/// A client of the service's database.
#[derive(Debug)]
pub(crate) struct Access {
    options: ClientOptions,
    servers: Servers,
    current: RwLock<Current>,
    refused: Mutex<Option<MongoError>>,
    /// All clients of the same user: one that has nothing to do would not notice that he was dropped, and ready would come too early.
    family: Family,
}

/// Connections stay logged out when a user is dropped and made anew, and the driver keeps them: then another client takes the place of
/// the one that has them.
#[derive(Debug)]
struct Current {
    database: Database,
    number: u64,
}

impl Access {
    pub(crate) fn new(
        options: ClientOptions,
        database: &str,
        servers: Servers,
        beside: Option<&Self>,
    ) -> mongodb::error::Result<Arc<Self>> {
        let database = Client::with_options(options.clone())?.database(database);
        let family = beside.map_or_else(Family::default, |it| Arc::clone(&it.family));
        let access = Arc::new(Self {
            options,
            servers,
            current: RwLock::new(Current {
                database,
                number: 0,
            }),
            refused: Mutex::default(),
            family: Arc::clone(&family),
        });
        family.lock().push(Arc::downgrade(&access));
        Ok(access)
    }

    pub(crate) fn database(&self) -> Database {
        self.current.read().database.clone()
    }

    /// Of the client that is used now.
    pub(crate) fn number(&self) -> u64 {
        self.current.read().number
    }

    /// Why nothing needs to be tried.
    pub(crate) fn refusal(&self) -> Option<MongoError> {
        self.refused.lock().clone()
    }

    /// Looks at what an operation came to that was begun with the client of that number.
    pub(crate) fn heed<T>(self: &Arc<Self>, ended: &mongodb::error::Result<T>, number: u64) {
        // Whoever does not say who he is has no login to wait for.
        if let Err(error) = ended
            && self.options.credential.is_some()
            && is_refused(error)
            && number == self.number()
        {
            self.refuse(error);
        }
    }

    /// Looks at what `connectionStatus` says: it is answered, and so is a ping, where nobody is logged in.
    ///
    /// # Errors
    /// Where our user is not.
    pub(crate) fn heed_status(
        self: &Arc<Self>,
        status: &Document,
        number: u64,
    ) -> mongodb::error::Result<()> {
        let info = status.get_document("authInfo");
        let users = info.and_then(|info| info.get_array("authenticatedUsers"));
        if self.options.credential.is_none() || !users.is_ok_and(Vec::is_empty) {
            return Ok(());
        }
        let refused = Err(not_logged_in());
        self.heed(&refused, number);
        refused
    }

    /// It is the same user's in the whole family, and told once.
    fn refuse(self: &Arc<Self>, error: &MongoError) {
        let family = self.family.lock();
        let is_news = !is_any_refused(&family);
        for access in family.iter().filter_map(Weak::upgrade) {
            if access.refused.lock().replace(error.clone()).is_none() {
                tokio::spawn(access.ask_until_it_does());
            }
        }
        if is_news {
            let told = self.servers.explain(error);
            tracing::error!(error = told, "MongoDB does not let us in");
        }
    }

    async fn ask_until_it_does(self: Arc<Self>) {
        // It fails for no other reason than the first time, when there was none.
        let Ok(client) = Client::with_options(self.options.clone()) else {
            return *self.refused.lock() = None;
        };
        let database = client.database(self.database().name());
        let lets_us_in = loop {
            let asked = database.clone();
            // A task of its own: a dropped driver future can corrupt its connection (RUST-937).
            let ping = tokio::spawn(async move { asked.run_command(doc! { "ping": 1 }).await });
            match timeout(ASK_LIMIT, ping).await {
                Ok(Ok(Ok(_))) => break true,
                // After a login that fails the driver takes the server for gone, and says no more than that, although it answers us.
                Ok(Ok(Err(error))) => {
                    if !is_refused(&error) && !self.servers.have_primary() {
                        *self.refused.lock() = Some(error);
                    }
                    sleep(ASK_AGAIN).await;
                }
                // It hangs, which is no refusal: the operations find out.
                _ => break false,
            }
        };
        self.replace(database);
        let family = self.family.lock();
        *self.refused.lock() = None;
        if lets_us_in && !is_any_refused(&family) {
            tracing::info!("MongoDB lets us in again");
        }
    }

    fn replace(&self, database: Database) {
        let mut current = self.current.write();
        let number = current.number + 1;
        *current = Current { database, number };
    }
}

fn is_any_refused(family: &[Weak<Access>]) -> bool {
    let mut alive = family.iter().filter_map(Weak::upgrade);
    alive.any(|access| access.refused.lock().is_some())
}

/// Whether the connection is of nobody any more: its user was dropped, and perhaps made anew, since it was made.
pub(crate) fn is_logged_out(error: &MongoError) -> bool {
    match &*error.kind {
        // The same code says that a privilege is missing.
        ErrorKind::Command(refused) if refused.code == UNAUTHORIZED => {
            refused.message.ends_with("requires authentication")
        }
        ErrorKind::Command(refused) => refused.code == REAUTHENTICATION_REQUIRED,
        _ => error
            .get_custom::<String>()
            .is_some_and(|told| told == LOGGED_OUT),
    }
}

/// The error of a connection that is answered whatever needs no user.
fn not_logged_in() -> MongoError {
    // A `String`: the driver shows no other custom error.
    MongoError::custom(LOGGED_OUT.to_owned())
}

/// Whether MongoDB does not let our user in, whatever is asked.
fn is_refused(error: &MongoError) -> bool {
    matches!(*error.kind, ErrorKind::Authentication { .. }) || is_logged_out(error)
}
