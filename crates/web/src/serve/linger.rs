//! The end of a connection whose client may still be sending what we refused. Closed at once, the system would tell it of that with a
//! reset, and our answer might never be read: so we have stopped writing, and throw away what comes for a while (RFC 9112 §9.6).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// For so long at most.
pub const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// So much at most. Whoever has more to send asks first in general (`Expect: 100-continue`).
pub const LINGER_LIMIT_BYTES: usize = 1024 * 1024;
const AT_ONCE: usize = 32 * 1024;

pub(super) struct Lingering {
    until: Pin<Box<Sleep>>,
    left: usize,
    /// What comes is written over what came before.
    thrown_away: Vec<u8>,
}

impl Lingering {
    pub(super) fn begin() -> Self {
        Self {
            until: Box::pin(sleep(LINGER_LIMIT)),
            left: LINGER_LIMIT_BYTES,
            thrown_away: Vec::with_capacity(AT_ONCE),
        }
    }

    /// Ready when the client sends no more, or has sent for too long or too much.
    pub(super) fn poll(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        while self.left > 0 && self.until.as_mut().poll(context).is_pending() {
            let mut into = ReadBuf::uninit(self.thrown_away.spare_capacity_mut());
            match stream.as_mut().poll_read(context, &mut into) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !into.filled().is_empty() => {
                    self.left = self.left.saturating_sub(into.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}
