//! Whether the reads of requests are answered. Health asks by connections of its own, and would not notice where all of theirs hang.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc};
use mongodb::error::Error as MongoError;

use crate::{
    Db, LEASES,
    error::{is_answer, is_timeout},
    owner::OWNER,
};

/// So many reads without an answer, one after the other: it is asked whether there is one at all.
const MANY: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Since the last that was answered.
    unanswered: AtomicU32,
    /// Whether one is asked for that is to show whether they are answered.
    is_probed: AtomicBool,
}

impl Reads {
    /// Looks at what a read came to.
    pub(crate) fn heed<T>(&self, ended: &mongodb::error::Result<T>) {
        match ended {
            Err(error) if is_timeout(error) => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if !is_answer(error) => {}
            _ => self.unanswered.store(0, Ordering::Relaxed),
        }
    }
}

impl Db {
    /// How many reads of requests have waited in vain one after the other, where another one does too.
    pub(crate) async fn reads_hang(&self, limit: Duration) -> Option<u32> {
        let reads = &self.0.reads;
        let unanswered = reads.unanswered.load(Ordering::Relaxed);
        if unanswered < MANY {
            return None;
        }
        // One at a time: what hangs would pile up.
        if !reads.is_probed.swap(true, Ordering::Relaxed) {
            let leases = self.0.access_of_requests.database();
            let (reads, leases) = (Arc::clone(reads), leases.collection::<Document>(LEASES));
            let probe = async move {
                let answered = leases.find_one(doc! { "_id": OWNER }).await;
                reads.is_probed.store(false, Ordering::Relaxed);
                reads.heed(&answered);
                answered
            };
            let answered: Result<_, MongoError> = self.bounded(limit, probe).await;
            if answered.is_ok() {
                return None;
            }
        }
        Some(unanswered)
    }
}
