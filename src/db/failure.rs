//! What a failure of the driver's means: that the database is away for now, or that something is wrong.

use mongodb::error::{
    Error as MongoError, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
};

use crate::error::Error;

impl From<MongoError> for Error {
    fn from(error: MongoError) -> Self {
        match is_unavailable(&error) {
            true => Self::Unavailable(error.into()),
            false => Self::Internal(error.into()),
        }
    }
}

/// Whether the database could not be reached, was changing its primary, or left an outcome unknown.
pub(super) fn is_unavailable(error: &MongoError) -> bool {
    // The server's codes for "not the primary (any more)", "shutting down", "interrupted" and "timed out".
    const PASSING: [i32; 15] = [
        6, 7, 50, 64, 89, 91, 112, 134, 189, 262, 9001, 10107, 11600, 11602, 13435,
    ];
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
        || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
        || error_code(error).is_some_and(|code| PASSING.contains(&code) || code == 13436)
        || matches!(
            *error.kind,
            ErrorKind::Io(_)
                | ErrorKind::ServerSelection { .. }
                | ErrorKind::ConnectionPoolCleared { .. }
                | ErrorKind::DnsResolve { .. }
                | ErrorKind::Transaction { .. }
        )
}

/// The server's number for the error, where it gave one.
pub fn error_code(error: &MongoError) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}
