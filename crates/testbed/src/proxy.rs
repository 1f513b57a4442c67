//! A TCP proxy whose links can be cut, black-holed, slowed down, and torn in the middle of a message.
//! A link is one instance's way to one server; what other processes say goes through untouched.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

const CHUNK: usize = 64 * 1024;

/// What happens to what goes over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Connections end, new ones too.
    Cut,
    /// Connections stay, nothing arrives: a half-open connection. What was sent arrives when it is open again.
    BlackHole,
    /// Each chunk waits.
    Slow(Duration),
    /// Connections end after half of the next chunk.
    Tear,
}

/// A fault of links, and how often it struck a connection or a chunk; clones are the same fault.
#[derive(Clone)]
pub struct LinkFault {
    mode: Mode,
    strikes: Arc<Strikes>,
}

#[derive(Default)]
struct Strikes {
    count: AtomicU64,
    first: OnceLock<Instant>,
}

impl LinkFault {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            strikes: Arc::default(),
        }
    }

    pub fn strikes(&self) -> u64 {
        self.strikes.count.load(Ordering::Relaxed)
    }

    /// `None` until it strikes.
    pub fn struck_first(&self) -> Option<Instant> {
        self.strikes.first.get().copied()
    }

    fn strike(&self) {
        self.strikes.first.get_or_init(Instant::now);
        self.strikes.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Its faults at this moment; of several the one that began last is what counts.
#[derive(Clone, Default)]
pub struct Link(Arc<watch::Sender<Vec<LinkFault>>>);

type Faults = watch::Receiver<Vec<LinkFault>>;

impl Link {
    pub fn begin(&self, fault: &LinkFault) {
        self.0.send_modify(|faults| faults.push(fault.clone()));
    }

    /// Whether a connection goes over it at this moment.
    pub fn is_in_use(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub fn end(&self, fault: &LinkFault) {
        self.0.send_modify(|faults| {
            faults.retain(|other| !Arc::ptr_eq(&other.strikes, &fault.strikes))
        });
    }
}

/// Whose connections a listener takes.
pub enum Callers {
    One(Link),
    /// Many, told apart by a name in their first message. Others have no link.
    Named(Vec<(String, Link)>),
}

/// Forwards what `listener` accepts to `server`, for ever.
pub async fn serve(listener: TcpListener, server: SocketAddr, callers: Callers) {
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
            known.map_or_else(Link::default, |(_, link)| link.clone())
        }
    };
    let mut faults = link.0.subscribe();
    if is_cut(&faults) {
        return Ok(());
    }
    until_flowing(&mut faults).await;
    let mut server = TcpStream::connect(server).await?;
    server.write_all(&first).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever direction ends first ends the other.
    tokio::select! {
        ended = pump(from_client, to_server, faults.clone(), true) => ended,
        ended = pump(from_server, to_client, faults, false) => ended,
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: Faults,
    is_request: bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = tokio::select! {
            length = from.read(&mut chunk) => length?,
            () = until_cut(&mut faults) => return Ok(()),
        };
        if length == 0 {
            return Ok(());
        }
        let fault = faults.borrow().last().cloned();
        match fault.as_ref().map(|fault| (fault, fault.mode)) {
            Some((fault, Mode::Slow(delay))) => {
                fault.strike();
                sleep(delay).await;
            }
            Some((fault, Mode::Tear)) if is_request => {
                fault.strike();
                return to.write_all(&chunk[..length / 2]).await;
            }
            _ => until_flowing(&mut faults).await,
        }
        if is_cut(&faults) {
            return Ok(());
        }
        to.write_all(&chunk[..length]).await?;
    }
}

fn counts(faults: &[LinkFault], mode: Mode) -> bool {
    faults.last().is_some_and(|fault| fault.mode == mode)
}

/// Whether the link is cut, which then strikes.
fn is_cut(faults: &Faults) -> bool {
    let faults = faults.borrow();
    let cut = faults.last().filter(|fault| fault.mode == Mode::Cut);
    cut.inspect(|fault| fault.strike()).is_some()
}

async fn until_cut(faults: &mut Faults) {
    // The sender lives as long as the experiment.
    drop(faults.wait_for(|faults| counts(faults, Mode::Cut)).await);
    is_cut(faults);
}

/// Returns at once unless the link is a black hole, which then strikes.
async fn until_flowing(faults: &mut Faults) {
    let hole = faults.borrow().last().cloned();
    if let Some(hole) = hole.filter(|fault| fault.mode == Mode::BlackHole) {
        hole.strike();
        drop(
            faults
                .wait_for(|faults| !counts(faults, Mode::BlackHole))
                .await,
        );
    }
}

#[cfg(test)]
mod tests;
