//! What an instance that gives the lease up leaves there.

use std::collections::HashSet;

use bson::{Bson, Document, doc};

use crate::stored::Stored;

/// Keys that the lease names; of more it says that there are others.
const MOST_NAMED: usize = 100;

/// The keys for which the lease was given up: who fails at the same ones keeps it, else it would be handed round for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GaveUp {
    keys: HashSet<Stored>,
    /// There were too many to be named.
    all: bool,
}

impl GaveUp {
    pub(crate) fn contains(&self, key: &Stored) -> bool {
        self.all || self.keys.contains(key)
    }

    pub(crate) fn add(&mut self, keys: impl IntoIterator<Item = Stored>) {
        self.keys.extend(keys);
        if self.keys.len() > MOST_NAMED {
            self.keys.clear();
            self.all = true;
        }
    }

    /// One of them was published after all.
    pub(crate) fn forget(&mut self, key: &Stored) {
        if !self.keys.is_empty() {
            self.keys.remove(key);
        }
    }

    /// All of them were.
    pub(crate) fn forget_the_unnamed(&mut self) {
        self.all = false;
    }

    /// What the holder before this one left, or this one when it was the last. One that crashed left nothing: what an earlier one had failed
    /// at may have been published since, and would keep a lease that is to be given up.
    pub(super) fn of(lease: &Document) -> Self {
        let Ok(gave_up) = lease.get_document("gaveUp") else {
            return Self::default();
        };
        let holders_since = match (lease.get_i64("fence"), gave_up.get_i64("fence")) {
            (Ok(now), Ok(then)) => now.saturating_sub(then),
            // The version before wrote no fence there.
            _ => 1,
        };
        if holders_since > 1 {
            return Self::default();
        }
        let keys = gave_up.get_array("keys").into_iter().flatten();
        Self {
            keys: keys.filter_map(Bson::as_str).map(Stored::from).collect(),
            all: gave_up.get_bool("all").unwrap_or_default(),
        }
    }

    pub(super) fn document(&self) -> Document {
        let keys: Vec<_> = self.keys.iter().filter_map(Stored::text).collect();
        doc! { "keys": keys, "all": self.all }
    }
}
