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

/// Each chunk, frame or segment costs about a microsecond, whatever is in it: a body of 64 KiB in single bytes would cost as much as hundreds of
/// requests, and be read before anybody asks who sends it.
pub const BODY_LIMIT_PARTS: usize = 256;

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
    parts: usize,
}

impl Asked {
    pub(super) fn new(body: Incoming, activity: Activity) -> Self {
        Self {
            body,
            activity,
            parts: 0,
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
        self.parts += 1;
        Poll::Ready(match frame {
            Some(Ok(_)) if self.parts > BODY_LIMIT_PARTS => {
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
