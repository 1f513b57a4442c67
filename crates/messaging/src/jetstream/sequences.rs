//! The last message of a subject, as this instance published it: saves the question to the stream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Of the subjects that change; more are forgotten, and asked for again.
const MOST: usize = 10_000;

/// Subject → version and sequence.
#[derive(Clone, Default)]
pub(super) struct LastSequences(Arc<Mutex<HashMap<String, (i64, u64)>>>);

impl LastSequences {
    pub(super) fn of(&self, subject: &str) -> Option<(i64, u64)> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(subject).copied()
    }

    pub(super) fn remember(&self, subject: String, version: i64, sequence: u64) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST {
            last.clear();
        }
        last.insert(subject, (version, sequence));
    }
}
