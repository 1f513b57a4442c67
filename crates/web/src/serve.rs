//! The listener: takes connections, bounds how long a client may take to send a head and to read an answer, and drains without
//! losing a request: who is connected is told first that the connection closes.

mod activity;
mod asked;
mod connection;
mod frames;
mod heads;
mod linger;
mod link;
mod refused;
mod room;

use std::{io, net::SocketAddr};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Timing;
use connection::Connection;
use room::Room;

pub use asked::BODY_LIMIT_PARTS;
pub use linger::{LINGER_LIMIT, LINGER_LIMIT_BYTES};
pub use room::raise_file_limit;

/// The largest head of a request, in bytes: above it is 431.
pub const HEAD_LIMIT_BYTES: usize = 32 * 1024;

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
    let room = Room::new(timing.idle);
    let take = |(stream, peer): (TcpStream, SocketAddr)| {
        let connection = Connection {
            peer,
            routes: routes.clone(),
            timing,
            closes_soon: closing.soon.clone(),
            closes_if_idle: idle_ones_close.clone(),
            idle_ones_go: room.idle_ones_go(),
        };
        connections.spawn(connection.serve(stream));
    };
    let next = async || {
        room.for_one_more(&connections).await;
        listener.accept().await
    };
    while let Some(accepted) = closing.now.run_until_cancelled(next()).await {
        match accepted {
            Ok(accepted) => take(accepted),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::debug!(%error, "cannot take a connection");
                room.is_short().await;
            }
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

fn is_of_the_client(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
    ];
    kinds.contains(&error.kind())
}
