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
