//! The promises that can be broken.

use serde::Serialize;

/// A promise that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// An accepted write without its document, its event or its message.
    Lost,
    /// A document's version without an event, or an event without a document of its version.
    Half,
    /// An event or a message of a write that was refused or never sent, or of none.
    Phantom,
    /// `YES` without a message.
    Premature,
    /// `NO`, and nothing that explains it.
    Stuck,
    /// A message id, or a version of a document, stored twice.
    Duplicate,
    /// One write, sent more than once with one `Idempotency-Key`, and saved more than once.
    Repeated,
    /// A document's versions not in their order.
    Reordered,
    /// A message that differs from its event in payload or headers, an event from its write, or a document in any member from its events.
    Altered,
    /// What had to be refused was accepted, or saved.
    WronglyAccepted,
    /// What had to be accepted was refused.
    WronglyRefused,
    /// Accepted or refused as it had to be, but with another status.
    WrongStatus,
    /// An answer whose `ETag`, `Location` or body is not what was saved, or not what another answer to the same write says.
    WrongAnswer,
    /// An answer that knows less than one that somebody had before it was asked for.
    Stale,
    /// Published long after its commit, although an instance could.
    Late,
    /// Parked, although nothing was wrong with it.
    WronglyParked,
    /// Servers of the cluster that hold different messages, or a consumer that saw others than the stream holds.
    Diverged,
}

impl Kind {
    pub(crate) const ALL: [Self; 17] = [
        Self::Lost,
        Self::Half,
        Self::Phantom,
        Self::Premature,
        Self::Stuck,
        Self::Duplicate,
        Self::Repeated,
        Self::Reordered,
        Self::Altered,
        Self::WronglyAccepted,
        Self::WronglyRefused,
        Self::WrongStatus,
        Self::WrongAnswer,
        Self::Stale,
        Self::Late,
        Self::WronglyParked,
        Self::Diverged,
    ];
}
