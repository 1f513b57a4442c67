//! A fault of a link strikes what goes over it, and counts that; where nothing does, it counts nothing.

use super::*;
use crate::{eventually, local};

/// A connection to a server that answers with what it is sent, over a link.
struct Connection {
    client: TcpStream,
    link: Link,
}

impl Connection {
    async fn new() -> Self {
        let echo = listen().await;
        let server = echo.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = echo.accept().await {
                let (mut from, mut to) = connection.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            }
        });
        let (link, listener) = (Link::default(), listen().await);
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, server, Callers::One(link.clone())));
        let mut connection = Self {
            client: TcpStream::connect(address).await.unwrap(),
            link,
        };
        assert_eq!(connection.echo(*b"hello").await.unwrap(), *b"hello");
        connection
    }

    async fn echo(&mut self, message: [u8; 5]) -> io::Result<[u8; 5]> {
        self.client.write_all(&message).await?;
        let mut answer = [0; 5];
        self.client.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind(local(0)).await.unwrap()
}

async fn strikes(fault: &LinkFault) {
    eventually("the fault strikes", async || fault.strikes() > 0).await;
}

#[tokio::test]
async fn a_fault_of_a_link_over_which_nothing_goes_strikes_nothing() {
    let mut connection = Connection::new().await;
    for mode in [Mode::Tear, Mode::BlackHole, Mode::Slow(Duration::ZERO)] {
        let fault = LinkFault::new(mode);
        connection.link.begin(&fault);
        connection.link.end(&fault);
        assert_eq!(fault.strikes(), 0);
    }
    assert_eq!(connection.echo(*b"still").await.unwrap(), *b"still");
}

#[tokio::test]
async fn a_cut_ends_an_idle_connection() {
    let mut connection = Connection::new().await;
    let cut = LinkFault::new(Mode::Cut);
    connection.link.begin(&cut);
    strikes(&cut).await;
    assert!(connection.echo(*b"never").await.is_err());
}

#[tokio::test]
async fn a_tear_ends_a_connection_in_the_middle_of_a_message() {
    let mut connection = Connection::new().await;
    let tear = LinkFault::new(Mode::Tear);
    connection.link.begin(&tear);
    assert_eq!(tear.struck_first(), None);
    let idle_until = Instant::now();
    assert!(connection.echo(*b"never").await.is_err());
    assert_eq!(tear.strikes(), 1);
    // It counts from there, and not from when it began.
    assert!(tear.struck_first().unwrap() >= idle_until);
}

#[tokio::test]
async fn a_black_hole_holds_what_is_sent_until_it_ends() {
    let mut connection = Connection::new().await;
    let hole = LinkFault::new(Mode::BlackHole);
    connection.link.begin(&hole);
    connection.client.write_all(b"later").await.unwrap();
    strikes(&hole).await;
    assert_eq!(
        connection.client.try_read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );

    connection.link.end(&hole);
    let mut answer = [0; 5];
    connection.client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"later");
}

#[tokio::test]
async fn a_slow_link_delays_each_chunk() {
    let mut connection = Connection::new().await;
    let slow = LinkFault::new(Mode::Slow(Duration::from_millis(50)));
    connection.link.begin(&slow);
    let began = std::time::Instant::now();
    assert_eq!(connection.echo(*b"later").await.unwrap(), *b"later");
    // There and back.
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(slow.strikes(), 2);
}

#[tokio::test]
async fn a_link_is_in_use_while_a_connection_goes_over_it() {
    let connection = Connection::new().await;
    assert!(connection.link.is_in_use());
    assert!(!Link::default().is_in_use());

    let Connection { client, link } = connection;
    drop(client);
    eventually("the connection is closed", async || !link.is_in_use()).await;
}
