//! What is to be applied, and what goes on in one order.

use std::{sync::Arc, time::Instant};

use super::{apply::Job, in_hand::Held, message::Message};

/// What goes on in one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Key(String),
    /// A message whose key or version can't be told, by its sequence.
    Alone(u64),
}

impl Lane {
    /// The key; empty where there is none.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Key(key) => key,
            Self::Alone(_) => "",
        }
    }
}

/// A message that is to be applied.
pub(super) enum Item {
    Delivered {
        job: Arc<Job>,
        held: Held,
        at: Instant,
    },
    /// It is put aside, and is read when its turn comes.
    Aside(i64),
    /// It tells no key or no version: why.
    Unplaced {
        message: Message,
        held: Held,
        reason: String,
    },
}

impl Item {
    pub(super) fn version(&self) -> i64 {
        match self {
            Self::Delivered { job, .. } => job.envelope.version,
            Self::Aside(version) => *version,
            Self::Unplaced { .. } => 0,
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Delivered { job, .. } => job.message.size(),
            Self::Unplaced { message, .. } => message.size(),
            Self::Aside(_) => 0,
        }
    }

    /// The stream sends it again at once.
    pub(super) fn give_back(self) {
        match self {
            Self::Delivered { held, .. } | Self::Unplaced { held, .. } => held.give_back(),
            Self::Aside(_) => {}
        }
    }
}

/// The item again, after an attempt.
pub(super) fn again(job: Arc<Job>, delivery: Option<(Held, Instant)>) -> Item {
    match delivery {
        Some((held, at)) => Item::Delivered { job, held, at },
        None => Item::Aside(job.envelope.version),
    }
}
