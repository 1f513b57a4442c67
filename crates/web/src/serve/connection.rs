//! One connection: HTTP/1 or, where the client begins with its preface, HTTP/2; and when it is closed.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::ConnectInfo,
    http::{HeaderValue, Request, Response, Version, header},
};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    HEAD_LIMIT_BYTES,
    activity::{Activity, InHand, Length},
    asked::{Asked, length},
    link::{Link, Protocol},
};
use crate::Timing;

/// So many requests are worked on at once for one connection of HTTP/2.
const STREAMS: u32 = 100;
/// Of a head of HTTP/2: h2 refuses a longer one without a body, and [`HEAD_LIMIT_BYTES`] leaves room for an answer of ours.
const LONGEST_HTTP2_HEAD: u32 = 40 * 1024;

#[derive(Clone)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) routes: Router,
    pub(super) timing: Timing,
    pub(super) closes_soon: CancellationToken,
    pub(super) closes_if_idle: CancellationToken,
    /// For how long it may be idle.
    pub(super) idle_ones_go: watch::Receiver<Duration>,
}

impl Connection {
    pub(super) async fn serve(self, stream: TcpStream) {
        let activity = Activity::default();
        let opening = Link::open(stream, self.timing.write, activity.clone());
        let mut link = match self.unless_idle(&activity, opening).await {
            Some((link, Protocol::Http1)) => link,
            Some((link, Protocol::Http2)) => {
                let served = Box::pin(self.serve_http2(link, activity)).await;
                return served.unwrap_or_else(tell);
            }
            None => return,
        };
        // On the heap, for an idle connection has nothing of it.
        while let Some(at_rest) = Box::pin(self.serve_http1(link, &activity)).await {
            link = at_rest;
            if self
                .unless_idle(&activity, link.next_head())
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// What a client has sent; `None` where it sent nothing for too long, or too slowly, or has gone.
    async fn unless_idle<T>(
        &self,
        activity: &Activity,
        sent: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        let mut sent = pin!(sent);
        let sent = tokio::select! {
            sent = sent.as_mut() => sent,
            () = activity.asks_nothing_for(self.timing.idle) => return None,
            () = activity.head_takes(self.timing.head) => return None,
            () = self.goes_if_idle(activity) => {
                if activity.idle_since().is_some() {
                    return None;
                }
                tokio::select! {
                    sent = sent => sent,
                    () = activity.head_takes(self.timing.linger) => return None,
                }
            }
        };
        sent.ok()
    }

    /// Returns the connection when nothing is asked on it for a while: what hyper keeps for it is given back meanwhile, its buffers above all.
    async fn serve_http1(&self, link: Link, activity: &Activity) -> Option<Link> {
        let mut http = http1::Builder::new();
        http.max_header_size(HEAD_LIMIT_BYTES)
            .max_buf_size(HEAD_LIMIT_BYTES + 1024);
        let service = service_fn(|request| self.answer(request, activity));
        let mut connection = http.serve_connection(TokioIo::new(link), service);
        tokio::select! {
            biased;
            ended = &mut connection => ended.unwrap_or_else(tell),
            () = activity.head_takes(self.timing.head) => return None,
            () = self.goes_if_idle(activity) => {
                Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended.unwrap_or_else(tell),
                    // A head that is not whole by then keeps nobody.
                    () = activity.head_takes(self.timing.linger) => return None,
                }
            }
            () = activity.rests_for(self.timing.rest) => {
                let parts = connection.into_parts();
                let mut link = parts.io.into_inner();
                link.take_back(&parts.read_buf);
                return Some(link);
            }
        }
        connection.into_parts().io.into_inner().close().await;
        None
    }

    /// A connection that asks for nothing is told to go, as one of HTTP/1 is closed.
    async fn serve_http2(&self, link: Link, activity: Activity) -> hyper::Result<()> {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_header_list_size(LONGEST_HTTP2_HEAD)
            .max_concurrent_streams(STREAMS);
        let service = {
            let (this, activity) = (Arc::new(self.clone()), activity.clone());
            service_fn(move |request| {
                let (this, activity) = (Arc::clone(&this), activity.clone());
                async move { this.answer(request, &activity).await }
            })
        };
        let mut connection = pin!(http.serve_connection(TokioIo::new(link), service));
        // A client that opens no window keeps its answer from being written: the link's limit sees nothing of that.
        let longest = self.timing.body + self.timing.work + self.timing.write;
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = activity.head_takes(self.timing.head) => return Ok(()),
            () = activity.one_takes(longest) => return Ok(()),
            // Requests that the client has sent before it hears of it are still taken (RFC 9113 §6.8).
            () = self.closes_soon.cancelled() => {}
            () = activity.idle_for(self.timing.idle) => {}
            () = self.goes_if_idle(&activity) => {}
        }
        connection.as_mut().graceful_shutdown();
        let when_asked = async {
            self.closes_if_idle.cancelled().await;
            activity.idle_for(self.timing.linger).await;
        };
        tokio::select! {
            ended = connection => ended,
            () = activity.head_takes(self.timing.head) => Ok(()),
            () = activity.one_takes(longest) => Ok(()),
            // Whoever neither goes nor reads is hung up on.
            () = activity.idle_for(self.timing.write) => Ok(()),
            () = when_asked => Ok(()),
        }
    }

    /// Returns when it may no longer be idle: where others want in, only when it is; at the end, in any case.
    async fn goes_if_idle(&self, activity: &Activity) {
        let mut idle_ones_go = self.idle_ones_go.clone();
        let crowded = async {
            while idle_ones_go.changed().await.is_ok() {
                let limit = *idle_ones_go.borrow();
                if activity
                    .idle_since()
                    .is_some_and(|since| since.elapsed() >= limit)
                {
                    return;
                }
            }
            pending().await
        };
        tokio::select! {
            () = self.closes_if_idle.cancelled() => {}
            () = crowded => {}
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> Result<Response<Body>, Infallible> {
        let length = length(&request);
        let is_http1 = request.version() < Version::HTTP_2;
        let comes_whole = is_http1 && matches!(length, Length::Bytes(_));
        let in_hand = activity.begin(length);
        let asked = |body| Body::new(Asked::new(body, activity.clone(), comes_whole));
        let mut request = request.map(asked);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let mut response = self.routes.clone().oneshot(request).await?;
        // What is left of a body is not read, and nor is a request behind it.
        if is_http1 && (self.closes_soon.is_cancelled() || activity.has_body_left()) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(response.map(|body| {
            Body::new(Counted {
                body,
                _in_hand: in_hand,
            })
        }))
    }
}

/// What a client breaks off is no failure of ours.
fn tell(error: hyper::Error) {
    tracing::debug!(%error, "a connection ended");
}

/// The body of an answer, which is done when it is dropped.
struct Counted {
    body: Body,
    _in_hand: InHand,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    #[tokio::test]
    async fn what_hyper_keeps_is_given_back_while_nothing_is_asked_and_not_while_a_body_is_left() {
        let timing = Timing {
            rest: Duration::from_millis(10),
            ..Timing::default()
        };
        let connection = Connection {
            peer: ([127, 0, 0, 1], 1).into(),
            routes: Router::new(),
            timing,
            closes_soon: CancellationToken::new(),
            closes_if_idle: CancellationToken::new(),
            idle_ones_go: watch::Sender::new(timing.idle).subscribe(),
        };
        for (left, rests) in [(0, true), (1, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {left}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let activity = Activity::default();
            let opened = Link::open(stream, timing.write, activity.clone()).await;
            let (link, _) = opened.unwrap();
            let served = connection.serve_http1(link, &activity);
            let served = timeout(Duration::from_secs(20), served).await.unwrap();
            assert_eq!(served.is_some(), rests, "{left} bytes are left");
            let mut answer = vec![0; 12];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, b"HTTP/1.1 404");
        }
    }
}
