//! The listener: takes connections, bounds how long a client may take to send a head and to read an answer, and drains without
//! losing a request: who is connected is told first that the connection closes.

mod connection;
mod link;
mod refused;

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Timing;
use connection::Connection;

/// The largest head of a request, in bytes: above it is 431.
pub const HEAD_LIMIT_BYTES: usize = 32 * 1024;
/// Out of file descriptors, most likely: some are given back soon.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How serving ends, in two steps.
#[derive(Debug, Clone, Default)]
pub struct Closing {
    /// From now on every answer says that its connection closes; whoever comes again is still served.
    pub soon: CancellationToken,
    /// No more connections are taken.
    pub now: CancellationToken,
}

/// Serves `routes` until it is closing, then takes no more connections and finishes the requests that are under way.
pub async fn serve(listener: TcpListener, routes: Router, timing: Timing, closing: Closing) {
    let connections = TaskTracker::new();
    let idle_ones_close = CancellationToken::new();
    let take = |(stream, peer): (TcpStream, SocketAddr)| {
        let connection = Connection {
            peer,
            routes: routes.clone(),
            timing,
            closes_soon: closing.soon.clone(),
            closes_if_idle: idle_ones_close.clone(),
        };
        connections.spawn(connection.serve(stream));
    };
    while let Some(accepted) = closing.now.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok(accepted) => take(accepted),
            Err(error) => refused(&error).await,
        }
    }
    closing.soon.cancel();
    take_who_waits(listener, take);
    connections.close();
    // A request may be under way on a connection that seems to be idle: those are closed last.
    if timeout(timing.linger, connections.wait()).await.is_err() {
        idle_ones_close.cancel();
        connections.wait().await;
    }
}

/// The system has taken connections in our name: who is closed out now would find their requests lost.
fn take_who_waits(listener: TcpListener, take: impl Fn((TcpStream, SocketAddr))) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    let mut waiting = Vec::new();
    while let Ok(accepted) = listener.accept() {
        waiting.push(accepted);
    }
    drop(listener);
    for (stream, peer) in waiting {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            take((stream, peer));
        }
    }
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
