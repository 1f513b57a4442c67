//! The listener: takes connections, bounds how long a request's head may take, and drains.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a connection may take for the head of a request; also how long it may be idle.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Out of file descriptors, most likely: some are given back soon.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves `routes` until `stop`, then takes no more connections and finishes the requests that are under way.
/// `header_timeout` is [`HEADER_READ_TIMEOUT`] but in tests.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    header_timeout: Duration,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(header_timeout);
    let connections = GracefulShutdown::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        let connection = http.serve_connection(io(stream), with_peer(&routes, peer));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // What a client breaks off is no failure of ours.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

fn io(stream: TcpStream) -> TokioIo<TcpStream> {
    drop(stream.set_nodelay(true));
    TokioIo::new(stream)
}

fn with_peer(
    routes: &Router,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    let routes = routes.clone();
    service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.clone().oneshot(request)
    })
}

async fn refused(error: &io::Error) {
    let of_the_client = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
    ];
    if !of_the_client.contains(&error.kind()) {
        tracing::warn!(%error, "cannot take a connection");
        tokio::time::sleep(ACCEPT_AGAIN).await;
    }
}
