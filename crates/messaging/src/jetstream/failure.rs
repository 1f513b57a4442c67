//! What it means that an event was not published, and for which others.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
};

/// Why an event was not published.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may be published later.
    Passing(Whose, anyhow::Error),
    /// This event never will be published.
    Never(String),
    /// Nor will this one: the stream holds another in its place.
    Conflict(String),
}

/// Who causes a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The broker's, or the key's: who asks for the stream knows.
    Unclear,
    /// The stream's: it says that it takes nothing for now.
    Streams,
    /// This key's alone.
    Keys,
    /// Nobody's: the stream is still storing a message of this key.
    OnItsWay,
}

impl Failure {
    /// The same, for a reason that says more.
    pub(super) fn map(self, explain: impl FnOnce(anyhow::Error) -> anyhow::Error) -> Self {
        match self {
            Self::Passing(whose, error) => Self::Passing(whose, explain(error)),
            never => never,
        }
    }
}

/// The server's codes for what concerns the whole stream. Not among them is 10077: it says that a stream or a subject is full.
const FULL_OR_BUSY: [ErrorCode; 5] = [
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::STREAM_TOO_MANY_REQUESTS,
];

fn error_code(error: &PublishError) -> Option<ErrorCode> {
    use std::error::Error as _;
    let refused = error.source()?.downcast_ref::<jetstream::Error>()?;
    Some(refused.error_code())
}

/// Another message came first.
pub(super) fn is_wrong_sequence(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence || is_another_on_its_way(error)
}

/// A cluster says so in another way while that message is still being stored.
pub(super) fn is_another_on_its_way(error: &PublishError) -> bool {
    error_code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        const TOO_LARGE: [ErrorCode; 2] = [
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM,
            ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM,
        ];
        const COPY_ON_ITS_WAY: ErrorCode = ErrorCode(10158);
        match (error.kind(), error_code(&error)) {
            (PublishErrorKind::MaxPayloadExceeded, _) => Self::Never(format!("{error:#}")),
            (_, Some(code)) if TOO_LARGE.contains(&code) => Self::Never(format!("{error:#}")),
            (_, Some(code)) if FULL_OR_BUSY.contains(&code) => {
                Self::Passing(Whose::Streams, error.into())
            }
            (_, Some(COPY_ON_ITS_WAY)) => Self::Passing(Whose::OnItsWay, error.into()),
            _ => Self::Passing(Whose::Unclear, error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(err_code: u64, kind: PublishErrorKind) -> PublishError {
        let answer = json!({ "code": 400, "err_code": err_code, "description": "refused" });
        let answer: jetstream::Error = serde_json::from_value(answer).unwrap();
        PublishError::with_source(kind, answer)
    }

    #[test]
    fn only_what_no_later_attempt_can_change_is_never_published() {
        let too_large = PublishError::new(PublishErrorKind::MaxPayloadExceeded);
        assert!(matches!(Failure::from(too_large), Failure::Never(_)));
        for code in [10054, 10097] {
            let too_large = refused(code, PublishErrorKind::Other);
            assert!(
                matches!(Failure::from(too_large), Failure::Never(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn a_copy_that_is_being_stored_is_nobodys_failure() {
        let on_its_way = refused(10158, PublishErrorKind::Other);
        assert!(matches!(
            Failure::from(on_its_way),
            Failure::Passing(Whose::OnItsWay, _)
        ));
    }

    #[test]
    fn a_stream_that_is_full_or_busy_says_so() {
        for code in [10002, 10023, 10028, 10047, 10167] {
            let failure = Failure::from(refused(code, PublishErrorKind::Other));
            assert!(
                matches!(failure, Failure::Passing(Whose::Streams, _)),
                "{code}"
            );
        }
    }

    #[test]
    fn anything_else_is_not_clear() {
        for kind in [
            PublishErrorKind::TimedOut,
            PublishErrorKind::StreamNotFound,
            PublishErrorKind::BrokenPipe,
            PublishErrorKind::Other,
        ] {
            let failure = Failure::from(PublishError::new(kind));
            assert!(
                matches!(failure, Failure::Passing(Whose::Unclear, _)),
                "{kind:?}"
            );
        }
        // Of the stream, or of one subject.
        let full = refused(10077, PublishErrorKind::Other);
        assert!(matches!(
            Failure::from(full),
            Failure::Passing(Whose::Unclear, _)
        ));
    }

    #[test]
    fn a_wrong_sequence_is_told_in_two_ways() {
        let told = PublishError::new(PublishErrorKind::WrongLastSequence);
        assert!(is_wrong_sequence(&told));
        assert!(is_wrong_sequence(&refused(10164, PublishErrorKind::Other)));
        assert!(is_another_on_its_way(&refused(
            10164,
            PublishErrorKind::Other
        )));
        assert!(!is_another_on_its_way(&told));
        assert!(!is_wrong_sequence(&refused(10158, PublishErrorKind::Other)));
        assert!(!is_wrong_sequence(&PublishError::new(
            PublishErrorKind::TimedOut
        )));
    }
}
