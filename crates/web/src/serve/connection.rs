//! One connection: HTTP/1 or, where the client begins with its preface, HTTP/2; and when it is closed.

use std::{
    convert::Infallible,
    future::pending,
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
use tokio::{net::TcpStream, sync::watch, time::timeout};
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
        let opened = Link::open(stream, self.timing.write, activity.clone());
        let mut opened = pin!(timeout(self.timing.idle, opened));
        let opened = tokio::select! {
            opened = opened.as_mut() => opened,
            () = activity.head_takes(self.timing.head) => return,
            () = self.goes_if_idle(&activity) => {
                if activity.idle_since().is_some() {
                    return;
                }
                tokio::select! {
                    opened = opened => opened,
                    () = activity.head_takes(self.timing.linger) => return,
                }
            }
        };
        let ended = match opened {
            Ok(Ok((link, Protocol::Http1))) => self.serve_http1(link, activity).await,
            Ok(Ok((link, Protocol::Http2))) => self.serve_http2(link, activity).await,
            _ => return,
        };
        // What a client breaks off is no failure of ours.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn serve_http1(&self, link: Link, activity: Activity) -> hyper::Result<()> {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.timing.idle)
            .max_header_size(HEAD_LIMIT_BYTES)
            .max_buf_size(HEAD_LIMIT_BYTES + 1024);
        let service = service_fn(|request| self.answer(request, &activity));
        let mut connection = pin!(http.serve_connection(TokioIo::new(link), service));
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = activity.head_takes(self.timing.head) => return Ok(()),
            () = self.goes_if_idle(&activity) => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = connection => ended,
            // A head that is not whole by then keeps nobody.
            () = activity.head_takes(self.timing.linger) => Ok(()),
        }
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
