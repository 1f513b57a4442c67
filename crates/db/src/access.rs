//! Whether MongoDB takes our user and password. While it does not, the driver spends seconds on each operation before it says so, since it
//! takes the server for gone: so a task
//! asks, and everybody else is told at once.

use std::{sync::Arc, time::Duration};

use bson::doc;
use mongodb::{
    Database,
    error::{Error as MongoError, ErrorKind},
};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::servers::Servers;

const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The driver takes some seconds; a server that answers nothing else would be asked for ever.
const ASK_LIMIT: Duration = Duration::from_secs(15);

/// One client's.
#[derive(Debug)]
pub(crate) struct Access {
    database: Database,
    servers: Servers,
    refused: Mutex<Option<MongoError>>,
}

impl Access {
    pub(crate) fn new(database: Database, servers: Servers) -> Arc<Self> {
        Arc::new(Self {
            database,
            servers,
            refused: Mutex::default(),
        })
    }

    /// Why nothing needs to be tried.
    pub(crate) fn refusal(&self) -> Option<MongoError> {
        self.refused.lock().clone()
    }

    /// Looks at what an operation came to.
    pub(crate) fn heed<T>(self: &Arc<Self>, ended: &mongodb::error::Result<T>) {
        let Err(error) = ended else { return };
        if !is_refused(error) || self.refused.lock().replace(error.clone()).is_some() {
            return;
        }
        let error = self.servers.explain(error);
        tracing::error!(error, "MongoDB does not let us in");
        tokio::spawn(Arc::clone(self).until_it_does());
    }

    async fn until_it_does(self: Arc<Self>) {
        loop {
            sleep(ASK_AGAIN).await;
            let database = self.database.clone();
            // A task of its own: a dropped driver future can corrupt its connection (RUST-937).
            let ping = tokio::spawn(async move { database.run_command(doc! { "ping": 1 }).await });
            match timeout(ASK_LIMIT, ping).await {
                Ok(Ok(Err(error))) if is_refused(&error) => {}
                Ok(Ok(Ok(_))) => break tracing::info!("MongoDB lets us in again"),
                // The operations find out.
                _ => break,
            }
        }
        *self.refused.lock() = None;
    }
}

fn is_refused(error: &MongoError) -> bool {
    matches!(*error.kind, ErrorKind::Authentication { .. })
}
