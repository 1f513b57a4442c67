//! What it means that an event was not published: for all events, for this one now, or for this one for ever.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
};

/// Why an event was not published.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing can be published for now.
    Broker(anyhow::Error),
    /// This event was not; others may be.
    Event(anyhow::Error),
    /// This event never will be.
    Never(String),
}

fn error_code(error: &PublishError) -> Option<u64> {
    use std::error::Error as _;
    let refused = error.source()?.downcast_ref::<jetstream::Error>()?;
    Some(refused.error_code().0)
}

/// Another message came first; a cluster says so in another way while that one is on its way.
pub(super) fn is_wrong_sequence(error: &PublishError) -> bool {
    const ON_ITS_WAY: u64 = 10164;
    error.kind() == PublishErrorKind::WrongLastSequence || error_code(error) == Some(ON_ITS_WAY)
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        const TOO_LARGE: [u64; 2] = [
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM.0,
            ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM.0,
        ];
        const COPY_ON_ITS_WAY: u64 = 10158;
        match (error.kind(), error_code(&error)) {
            (PublishErrorKind::MaxPayloadExceeded, _) => Self::Never(format!("{error:#}")),
            (_, Some(code)) if TOO_LARGE.contains(&code) => Self::Never(format!("{error:#}")),
            (_, Some(COPY_ON_ITS_WAY)) => Self::Event(error.into()),
            _ => Self::Broker(error.into()),
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
    fn a_copy_that_is_being_stored_delays_its_own_key_only() {
        let on_its_way = refused(10158, PublishErrorKind::Other);
        assert!(matches!(Failure::from(on_its_way), Failure::Event(_)));
    }

    #[test]
    fn anything_else_is_the_brokers() {
        for kind in [
            PublishErrorKind::TimedOut,
            PublishErrorKind::StreamNotFound,
            PublishErrorKind::BrokenPipe,
            PublishErrorKind::Other,
        ] {
            let failure = Failure::from(PublishError::new(kind));
            assert!(matches!(failure, Failure::Broker(_)), "{kind:?}");
        }
        // The stream is full; the server is too busy.
        for code in [10077, 10167] {
            let failure = Failure::from(refused(code, PublishErrorKind::Other));
            assert!(matches!(failure, Failure::Broker(_)), "{code}");
        }
    }

    #[test]
    fn a_wrong_sequence_is_told_in_two_ways() {
        let told = PublishError::new(PublishErrorKind::WrongLastSequence);
        assert!(is_wrong_sequence(&told));
        assert!(is_wrong_sequence(&refused(10164, PublishErrorKind::Other)));
        assert!(!is_wrong_sequence(&refused(10158, PublishErrorKind::Other)));
        assert!(!is_wrong_sequence(&PublishError::new(
            PublishErrorKind::TimedOut
        )));
    }
}
