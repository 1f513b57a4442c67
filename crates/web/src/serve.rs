//! The listener: takes connections, bounds how long a client may take to send a head and to read an answer, and drains.

use std::{io, pin::Pin, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Timing;

/// Out of file descriptors, most likely: some are given back soon.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves `routes` until `closing`, then takes no more connections and finishes the requests that are under way.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    timing: Timing,
    closing: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(timing.head);
    let connections = GracefulShutdown::new();
    while let Some(accepted) = closing.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        let with_peer = move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        };
        let routes = TowerToHyperService::new(routes.clone().map_request(with_peer));
        let connection = http.serve_connection(io(stream, timing.write), routes);
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

fn io(stream: TcpStream, write_timeout: Duration) -> TokioIo<Pin<Box<TimeoutStream<TcpStream>>>> {
    drop(stream.set_nodelay(true));
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    TokioIo::new(Box::pin(stream))
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
