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
