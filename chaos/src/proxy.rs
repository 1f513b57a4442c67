//! A TCP proxy whose links can be cut, black-holed, slowed down, and torn in the middle of a message.
//! A link is one instance's way to one server; what other processes say goes through untouched.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

const CHUNK: usize = 64 * 1024;

/// What happens to what goes over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// Connections end, new ones too.
    Cut,
    /// Connections stay, nothing arrives: a half-open connection. What was sent arrives when it is open again.
    BlackHole,
    /// Each chunk waits.
    Slow(Duration),
    /// Connections end after half of the next chunk.
    Tear,
}

/// Its faults at this moment; of several the one that began last is what counts.
#[derive(Clone)]
pub(crate) struct Link(Arc<watch::Sender<Vec<Mode>>>);

impl Link {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn begin(&self, mode: Mode) {
        self.0.send_modify(|faults| faults.push(mode));
    }

    pub(crate) fn end(&self, mode: Mode) {
        self.0.send_modify(|faults| {
            if let Some(ended) = faults.iter().rposition(|fault| *fault == mode) {
                faults.remove(ended);
            }
        });
    }
}

fn counts(faults: &[Mode]) -> Mode {
    faults.last().copied().unwrap_or(Mode::Open)
}

/// Whose connections a listener takes.
pub(crate) enum Callers {
    One(Link),
    /// Many, told apart by a name in their first message. Others have no link.
    Named(Vec<(String, Link)>),
}

/// Forwards what `listener` accepts to `server`, for ever.
pub(crate) async fn serve(listener: TcpListener, server: SocketAddr, callers: Callers) {
    let callers = Arc::new(callers);
    while let Ok((client, _)) = listener.accept().await {
        let callers = Arc::clone(&callers);
        // Whatever fails ends the connection, as it would without a proxy.
        tokio::spawn(async move { drop(connect(client, server, &callers).await) });
    }
}

async fn connect(mut client: TcpStream, server: SocketAddr, callers: &Callers) -> io::Result<()> {
    let mut first = Vec::new();
    let link = match callers {
        Callers::One(link) => link.clone(),
        Callers::Named(names) => {
            first.resize(CHUNK, 0);
            let length = client.read(&mut first).await?;
            first.truncate(length);
            let says = |name: &str| {
                first
                    .windows(name.len())
                    .any(|part| part == name.as_bytes())
            };
            let known = names.iter().find(|(name, _)| says(name));
            known.map_or_else(Link::new, |(_, link)| link.clone())
        }
    };
    let mut mode = link.0.subscribe();
    if is_cut(&mode) {
        return Ok(());
    }
    until_flowing(&mut mode).await;
    let mut server = TcpStream::connect(server).await?;
    server.write_all(&first).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever direction ends first ends the other.
    tokio::select! {
        ended = pump(from_client, to_server, mode.clone(), true) => ended,
        ended = pump(from_server, to_client, mode, false) => ended,
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Vec<Mode>>,
    is_request: bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = tokio::select! {
            length = from.read(&mut chunk) => length?,
            changed = mode.wait_for(|faults| counts(faults) == Mode::Cut) => {
                drop(changed);
                return Ok(());
            }
        };
        if length == 0 {
            return Ok(());
        }
        let now = counts(&mode.borrow());
        match now {
            Mode::Open => {}
            Mode::Slow(delay) => tokio::time::sleep(delay).await,
            Mode::BlackHole => until_flowing(&mut mode).await,
            Mode::Tear if is_request => return to.write_all(&chunk[..length / 2]).await,
            Mode::Tear => {}
            Mode::Cut => return Ok(()),
        }
        if is_cut(&mode) {
            return Ok(());
        }
        to.write_all(&chunk[..length]).await?;
    }
}

fn is_cut(mode: &watch::Receiver<Vec<Mode>>) -> bool {
    counts(&mode.borrow()) == Mode::Cut
}

async fn until_flowing(mode: &mut watch::Receiver<Vec<Mode>>) {
    // The sender lives as long as the experiment.
    drop(
        mode.wait_for(|faults| counts(faults) != Mode::BlackHole)
            .await,
    );
}
