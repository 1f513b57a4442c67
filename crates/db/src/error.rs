//! Tells temporary errors of the driver, such as an unreachable server or an election, from real faults.

use mongodb::error::{
    Error as MongoError, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    WriteFailure,
};

use crate::access::{LOGGED_OUT, is_logged_out};

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not asked: collections and indexes are not made yet.
    #[error("collections and indexes are not made yet")]
    NotReady,
    /// It was not asked: too many operations wait for it already.
    #[error("too many operations wait for MongoDB")]
    Overloaded,
    /// It was not asked: those that were asked before wait in vain.
    #[error("MongoDB answers no writes")]
    Stalled,
    /// It could not be reached, or was changing its primary. Whether a write was saved may be unknown.
    #[error("MongoDB is unavailable")]
    Unavailable(#[source] MongoError),
    /// It refused, or a defect of ours came to light: it will be the same next time.
    #[error("MongoDB failed")]
    Failed(#[source] MongoError),
}

impl From<MongoError> for Error {
    fn from(error: MongoError) -> Self {
        if is_unavailable(&error) {
            Self::Unavailable(error)
        } else {
            Self::Failed(error)
        }
    }
}

/// How a closure inside a transaction ends early. `?` makes it of the driver's error.
#[derive(Debug)]
pub enum Abort<R> {
    /// The driver's error, unchanged: its labels decide whether the closure runs again.
    Driver(MongoError),
    /// The domain says no. The transaction is committed, so that a majority stands behind what the closure has read: it takes
    /// back what it wrote before, or aborts the transaction.
    Refused(R),
}

impl<R> Abort<R> {
    /// Makes another type of the refusal; a driver's error stays as it is.
    pub fn map<S>(self, refusal: impl FnOnce(R) -> S) -> Abort<S> {
        match self {
            Self::Driver(error) => Abort::Driver(error),
            Self::Refused(why) => Abort::Refused(refusal(why)),
        }
    }
}

impl<R> From<MongoError> for Abort<R> {
    fn from(error: MongoError) -> Self {
        Self::Driver(error)
    }
}

impl<R> From<bson::error::Error> for Abort<R> {
    fn from(error: bson::error::Error) -> Self {
        Self::Driver(error.into())
    }
}

/// Why a transaction was not done.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError<R> {
    /// The closure refused.
    #[error("{0}")]
    Refused(R),
    #[error(transparent)]
    Failed(Error),
}

impl<R> From<MongoError> for TransactionError<R> {
    fn from(error: MongoError) -> Self {
        Self::Failed(error.into())
    }
}

impl<R> From<Error> for TransactionError<R> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(crate) const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
/// The server's codes for what passes by itself.
const PASSING: [i32; 26] = [
    6,     // HostUnreachable
    7,     // HostNotFound
    13,    // Unauthorized: a role was taken from us, and may be given back
    18,    // AuthenticationFailed: so was a password
    43,    // CursorNotFound
    50,    // MaxTimeMSExpired
    64,    // WriteConcernFailed
    89,    // NetworkTimeout
    91,    // ShutdownInProgress
    112,   // WriteConflict
    133,   // FailedToSatisfyReadPreference
    134,   // ReadConcernMajorityNotAvailableYet
    148,   // ReadConcernMajorityNotEnabled, while a member starts
    189,   // PrimarySteppedDown
    237,   // CursorKilled
    262,   // ExceededTimeLimit
    365,   // TemporarilyUnavailable
    391,   // ReauthenticationRequired
    462,   // IngressRequestRateLimitExceeded
    9001,  // SocketException
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
];

/// Whether the database could not be reached, was changing its primary, or left an outcome unknown.
pub(crate) fn is_unavailable(error: &MongoError) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
        || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
        || error_code(error).is_some_and(|code| PASSING.contains(&code))
        || matches!(
            *error.kind,
            // The write is done, and it is not known on how many members.
            ErrorKind::Write(WriteFailure::WriteConcernError(_))
                | ErrorKind::Authentication { .. }
                | ErrorKind::Io(_)
                | ErrorKind::ServerSelection { .. }
                | ErrorKind::ConnectionPoolCleared { .. }
                | ErrorKind::DnsResolve { .. }
                | ErrorKind::Transaction { .. }
        )
}

/// Whether MongoDB itself has said so: it was there, and did not hang.
pub(crate) fn is_answer(error: &MongoError) -> bool {
    /// What a transaction that may not wait meets where everything is locked.
    const LOCK_TIMEOUT: i32 = 24;
    match &*error.kind {
        ErrorKind::Command(refused) => refused.code != LOCK_TIMEOUT,
        ErrorKind::Write(WriteFailure::WriteError(_)) | ErrorKind::Authentication { .. } => true,
        _ => false,
    }
}

/// Whether no answer came in time.
pub(crate) fn is_timeout(error: &MongoError) -> bool {
    matches!(&*error.kind, ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::TimedOut)
}

/// Whether MongoDB does not know our user, or does not let it do something.
pub(crate) fn is_of_our_user(error: &MongoError) -> bool {
    matches!(
        error_code(error),
        Some(AUTHENTICATION_FAILED | UNAUTHORIZED)
    )
}

/// What a failure is about, in a sentence for those who run the service: never what was to be stored.
pub fn cause(error: &MongoError) -> String {
    let reason = &*error.kind;
    match (reason, error_code(error)) {
        (ErrorKind::Authentication { message, .. }, _) => {
            format!("authentication at MongoDB failed: {message}")
        }
        (_, Some(AUTHENTICATION_FAILED)) => "authentication at MongoDB failed".to_owned(),
        _ if is_logged_out(error) => LOGGED_OUT.to_owned(),
        (ErrorKind::Command(refused), Some(UNAUTHORIZED)) => {
            // The command follows, with what was to be stored.
            let what = refused.message.split(", ").next().unwrap_or_default();
            format!(
                "MongoDB's user is {}",
                what.replace(" { ", " ").replace(": \"", " on \"")
            )
        }
        // Its message may quote what was to be stored.
        (ErrorKind::Command(refused), _) => {
            format!("MongoDB refuses: {} ({})", refused.code_name, refused.code)
        }
        (ErrorKind::Write(WriteFailure::WriteError(refused)), _) => {
            format!("MongoDB refuses: error {}", refused.code)
        }
        (ErrorKind::Io(error), _) if error.kind() == std::io::ErrorKind::TimedOut => {
            "MongoDB does not answer".to_owned()
        }
        (
            ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. },
            _,
        ) => format!("MongoDB is down: {reason}"),
        _ => reason.to_string(),
    }
}

/// The server's number for the error of a command, where it gave one.
pub fn error_code(error: &MongoError) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Whether a unique index refused a write.
pub fn is_duplicate_key(error: &MongoError) -> bool {
    const DUPLICATE_KEY: i32 = 11000;
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

/// Whether another transaction, which is not over, has written the same document.
pub fn is_write_conflict(error: &MongoError) -> bool {
    const WRITE_CONFLICT: i32 = 112;
    error_code(error) == Some(WRITE_CONFLICT)
}

#[cfg(test)]
mod tests;
