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
    const PASSING: [i32; 16] = [
        6, 7, 50, 64, 89, 91, 112, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
    ];
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
        || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
        || error_code(error).is_some_and(|code| PASSING.contains(&code))
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
        // Not the primary, in two ways; interrupted by a shutdown.
        for code in [10107, 13436, 11600] {
            assert!(is_unavailable(&answered(code)), "{code}");
            assert!(matches!(answered(code).into(), Error::Unavailable(_)));
        }
    }

    #[test]
    fn what_will_not_pass_is_an_internal_error() {
        // Unauthorized, duplicate key, bad value.
        for code in [13, 11000, 2] {
            assert!(!is_unavailable(&answered(code)), "{code}");
            assert!(matches!(answered(code).into(), Error::Internal(_)));
        }
        assert!(!is_unavailable(&MongoError::custom("a bug")));
    }

    #[test]
    fn the_servers_number_is_told_where_it_gave_one() {
        assert_eq!(error_code(&answered(112)), Some(112));
        assert_eq!(error_code(&MongoError::custom("a bug")), None);
    }
}
