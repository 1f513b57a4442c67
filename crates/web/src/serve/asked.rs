//! The body of a request: how long it is, when it has ended, and in how many parts it may come.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::Bytes,
    http::{Request, header},
};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::activity::{Activity, Length};

/// Of a body in chunks or frames, of which a client can put thousands into one packet. Each costs about a microsecond, whatever is in it: a body of
/// 64 KiB in single bytes would cost as much as hundreds of requests, and be read before anybody asks who sends it. A body of HTTP/1 with a
/// stated length comes in as many parts as the network makes of it.
pub const BODY_LIMIT_PARTS: usize = 128;

/// What a head of HTTP/1 says; of both headers the coding counts, as for hyper.
pub(super) fn length(request: &Request<Incoming>) -> Length {
    let headers = request.headers();
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.trim().parse().ok());
    match length {
        _ if is_chunked => Length::Chunked,
        length => Length::Bytes(length.unwrap_or(0)),
    }
}

pub(super) struct Asked {
    body: Incoming,
    activity: Activity,
    /// How many more may come.
    parts_left: usize,
}

impl Asked {
    /// `comes_whole`: in parts that the network makes, not the client.
    pub(super) fn new(body: Incoming, activity: Activity, comes_whole: bool) -> Self {
        let parts_left = if comes_whole {
            usize::MAX
        } else {
            BODY_LIMIT_PARTS
        };
        Self {
            body,
            activity,
            parts_left,
        }
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.activity.body_has_ended();
        }
        let is_in_time = self.parts_left > 0;
        self.parts_left = self.parts_left.saturating_sub(1);
        Poll::Ready(match frame {
            Some(Ok(_)) if !is_in_time => {
                Some(Err(axum::Error::new("the body comes in too many parts")))
            }
            frame => frame.map(|frame| frame.map_err(axum::Error::new)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
