//! The bytes of a connection: which protocol they begin, for how long a client may leave ours unread, and what we say in hyper's place.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutStream;

use super::{HEAD_LIMIT_BYTES, activity::Activity, linger::Lingering, refused};

/// So much of a head is read at once.
const READ_BYTES: usize = 4 * 1024;
/// What a client of HTTP/2 sends first (RFC 9113 §3.4); no request of HTTP/1 begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) enum Protocol {
    Http1,
    Http2,
}

pub(super) struct Link {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    /// What was read to find out the protocol, and is read once more.
    begin: Vec<u8>,
    activity: Activity,
    refusal: Option<Refusal>,
    /// Whether the head was refused; there may be more of it.
    is_refused: bool,
    lingering: Option<Lingering>,
}

/// What is sent in place of something else.
struct Refusal {
    bytes: Vec<u8>,
    sent: usize,
    instead_of: usize,
}

impl Link {
    /// Reads until it is known which protocol the client speaks and, of HTTP/1, until the first head is whole: until then hyper's state
    /// and buffers are not needed, which are half as large again as the largest head.
    pub(super) async fn open(
        stream: TcpStream,
        write_limit: Duration,
        activity: Activity,
    ) -> io::Result<(Self, Protocol)> {
        drop(stream.set_nodelay(true));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_limit));
        let mut link = Self {
            stream: Box::pin(stream),
            begin: Vec::new(),
            activity,
            refusal: None,
            is_refused: false,
            lingering: None,
        };
        while PREFACE.starts_with(&link.begin) && link.begin.len() < PREFACE.len() {
            link.read_more(PREFACE.len() - link.begin.len()).await?;
        }
        if link.begin == PREFACE {
            link.activity.is_of_http2();
            return Ok((link, Protocol::Http2));
        }
        link.read_rest_of_head().await?;
        Ok((link, Protocol::Http1))
    }

    /// Waits for the next head of HTTP/1, without any buffer, and reads until it is whole.
    pub(super) async fn next_head(&mut self) -> io::Result<()> {
        self.stream.get_ref().readable().await?;
        self.read_more(READ_BYTES).await?;
        self.read_rest_of_head().await
    }

    async fn read_rest_of_head(&mut self) -> io::Result<()> {
        while self.begin.len() <= HEAD_LIMIT_BYTES
            && self.activity.is_in_head()
            && may_be_http1(&self.begin)
        {
            self.read_more(READ_BYTES).await?;
        }
        Ok(())
    }

    async fn read_more(&mut self, at_most: usize) -> io::Result<()> {
        let before = self.begin.len();
        self.begin.reserve_exact(at_most);
        let mut stream = (&mut self.stream).take(at_most as u64);
        if stream.read_buf(&mut self.begin).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.activity.has_read(&self.begin[before..]);
        Ok(())
    }

    /// Closes what hyper leaves open: the connection of a client that has asked for another protocol.
    pub(super) async fn close(&mut self) {
        if !self.activity.is_closed() {
            drop(self.shutdown().await);
        }
    }

    /// What hyper had read and not used.
    pub(super) fn take_back(&mut self, bytes: &[u8]) {
        self.begin.splice(..0, bytes.iter().copied());
    }

    /// hyper answers a head that it can't read by itself, without a body: the only thing it writes while we answer no request. Then
    /// our own answer is sent in place of `text`. `None` where there is none.
    fn poll_refusal(
        &mut self,
        context: &mut Context<'_>,
        text: &[u8],
        length: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        if self.refusal.is_none() && self.activity.is_all_sent() {
            self.refusal = refused::in_place_of(text).map(|bytes| Refusal {
                bytes,
                sent: 0,
                instead_of: length,
            });
        }
        let refusal = self.refusal.as_mut()?;
        while refusal.sent < refusal.bytes.len() {
            let rest = &refusal.bytes[refusal.sent..];
            match self.stream.as_mut().poll_write(context, rest) {
                Poll::Ready(Ok(0)) => {
                    return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(sent)) => refusal.sent += sent,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        let instead_of = refusal.instead_of;
        self.refusal = None;
        self.is_refused = true;
        self.activity.head_is_refused();
        Some(Poll::Ready(Ok(instead_of)))
    }
}

/// As far as it can be told from the beginning: hyper refuses the rest at once.
fn may_be_http1(begin: &[u8]) -> bool {
    let line = begin.split(|byte| *byte == b'\n').next();
    let line = line.filter(|line| line.len() < begin.len());
    let ends = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
    };
    begin.first().is_some_and(u8::is_ascii_uppercase) && line.is_none_or(ends)
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begin.is_empty() {
            let before = into.filled().len();
            ready!(self.stream.as_mut().poll_read(context, into))?;
            if into.filled().len() > before {
                self.activity.has_read(&into.filled()[before..]);
            }
            return Poll::Ready(Ok(()));
        }
        let length = self.begin.len().min(into.remaining());
        into.put_slice(&self.begin[..length]);
        self.begin.drain(..length);
        if self.begin.is_empty() {
            self.begin = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(refusal) = self.poll_refusal(context, bytes, bytes.len()) {
            return refusal;
        }
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map_or(&[][..], |slice| &**slice);
        let length = slices.iter().map(|slice| slice.len()).sum();
        if let Some(refusal) = self.poll_refusal(context, first, length) {
            return refusal;
        }
        self.stream.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.as_mut().poll_flush(context))?;
        self.activity.has_sent();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            this.activity.has_closed();
            ready!(this.stream.as_mut().poll_shutdown(context))?;
            if !this.is_refused && !this.activity.has_body_left() {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering = this.lingering.get_or_insert_with(Lingering::begin);
        lingering.poll(this.stream.as_mut(), context).map(Ok)
    }
}
