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
mod tests {
    use std::io;

    use bson::doc;
    use mongodb::error::CommandError;

    use super::*;

    fn answered(code: i32) -> MongoError {
        let answer = doc! { "code": code, "codeName": "name", "errmsg": "message" };
        let answer: CommandError = bson::deserialize_from_document(answer).unwrap();
        ErrorKind::Command(answer).into()
    }

    #[test]
    fn a_server_that_is_away_or_no_primary_is_unavailable() {
        assert!(is_unavailable(
            &io::Error::from(io::ErrorKind::TimedOut).into()
        ));
        // Named once more, so that none goes missing above.
        let away = [6, 7, 64, 89, 91, 134, 148, 9001];
        let no_primary = [133, 189, 10107, 13435, 13436];
        let interrupted = [43, 237, 11600, 11601, 11602];
        let given_back_perhaps = [13, 18, 391];
        let too_busy = [50, 112, 262, 365, 462];
        let codes = [
            &away[..],
            &no_primary,
            &interrupted,
            &too_busy,
            &given_back_perhaps,
        ]
        .concat();
        for code in codes {
            assert!(is_unavailable(&answered(code)), "{code}");
            assert!(matches!(answered(code).into(), Error::Unavailable(_)));
        }
    }

    #[test]
    fn a_write_whose_durability_is_not_known_is_unavailable() {
        for code in [79, 100, 64] {
            let told = doc! { "code": code, "codeName": "name", "errmsg": "message" };
            let told = bson::deserialize_from_document(told).unwrap();
            let error = ErrorKind::Write(WriteFailure::WriteConcernError(told)).into();
            assert!(is_unavailable(&error), "{code}");
        }
    }

    #[test]
    fn what_will_not_pass_is_a_failure() {
        // Duplicate key, bad value.
        for code in [11000, 2] {
            assert!(!is_unavailable(&answered(code)), "{code}");
            assert!(matches!(answered(code).into(), Error::Failed(_)));
        }
        assert!(!is_unavailable(&MongoError::custom("a bug")));
    }

    #[test]
    fn only_a_duplicate_and_only_a_conflict_are_taken_for_one() {
        let refused = |code: i32| {
            let refused = doc! { "code": code, "codeName": "name", "errmsg": "message" };
            let refused = bson::deserialize_from_document(refused).unwrap();
            ErrorKind::Write(WriteFailure::WriteError(refused)).into()
        };
        assert!(is_duplicate_key(&refused(11000)));
        assert!(!is_duplicate_key(&refused(121)));
        assert!(!is_duplicate_key(&answered(112)));
        assert!(is_write_conflict(&answered(112)));
        assert!(!is_write_conflict(&answered(251)));
        assert!(!is_write_conflict(&refused(11000)));
    }

    #[test]
    fn the_servers_number_is_told_where_it_gave_one() {
        assert_eq!(error_code(&answered(112)), Some(112));
        assert_eq!(error_code(&MongoError::custom("a bug")), None);
    }
}
