//! Failures of the broker that pass: each is seen to happen, and none of them parks an event.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use testbed::{Nats, eventually, mongo_uri};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use crate::{
    counters::{Counters, FAILURES},
    refusals::allow,
    toy::{Place, Toy},
};

/// An outbox that publishes to a NATS server of the test's own.
struct Failing {
    toy: Toy,
    counters: Counters,
}

impl Failing {
    async fn start(nats_url: &str) -> Self {
        let counters = Counters::start();
        let toy = Toy::start_at(Place::at(&mongo_uri(), nats_url)).await;
        toy.create().await;
        toy.place.drained().await;
        Self { toy, counters }
    }

    /// Of the broker, or of a key.
    fn failures(&self) -> u64 {
        self.counters.count(FAILURES)
    }

    /// Saves an event that can't be published for now, and waits until that was seen.
    async fn fails_to_publish(&self) {
        let before = self.failures();
        self.toy.create().await;
        eventually("an event cannot be published", async || {
            self.failures() > before
        })
        .await;
        self.parks_nothing().await;
    }

    async fn parks_nothing(&self) {
        assert_eq!(self.toy.place.parked().await, []);
    }

    /// What could not be published is, now that the cause is gone.
    async fn recovers(&self) {
        self.toy.place.drained().await;
        self.parks_nothing().await;
    }

    async fn finish(self) {
        self.toy.finish().await;
    }
}

#[tokio::test]
async fn a_stream_that_is_gone_parks_nothing() {
    let mut nats = Nats::absent();
    nats.start().await;
    let failing = Failing::start(&nats.url()).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    // Nobody answers; then it is made anew.
    jetstream
        .delete_stream(&failing.toy.place.name)
        .await
        .unwrap();
    failing.fails_to_publish().await;
    failing.recovers().await;
    assert_eq!(failing.toy.place.messages().await.len(), 1);
    failing.finish().await;
}

#[tokio::test]
async fn a_stream_that_is_full_parks_nothing() {
    let mut nats = Nats::absent();
    nats.start().await;
    let failing = Failing::start(&nats.url()).await;
    allow(&failing.toy.place, 1).await;
    failing.fails_to_publish().await;
    allow(&failing.toy.place, -1).await;
    failing.recovers().await;
    assert_eq!(failing.toy.place.messages().await.len(), 2);
    failing.finish().await;
}

#[tokio::test]
async fn an_acknowledgement_that_does_not_come_in_time_parks_nothing() {
    let mut nats = Nats::absent();
    nats.start().await;
    let failing = Failing::start(&nats.url()).await;
    nats.signal("-STOP");
    failing.fails_to_publish().await;
    nats.signal("-CONT");
    failing.recovers().await;
    assert_eq!(failing.toy.place.messages().await.len(), 2);
    failing.finish().await;
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_owes_an_acknowledgement_parks_nothing() {
    let mut nats = Nats::absent();
    nats.start().await;
    let failing = Failing::start(&nats.url()).await;
    nats.signal("-STOP");
    failing.fails_to_publish().await;
    nats.kill();
    nats.start().await;
    failing.recovers().await;
    assert_eq!(failing.toy.place.messages().await.len(), 2);
    failing.finish().await;
}

/// Passes connections on to NATS. Once `cuts` is set, it cuts the next one that publishes an event, before the event
/// gets through.
async fn cutting_proxy(to: String, cuts: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(pass_on(client, server, Arc::clone(&cuts)));
        }
    });
    url
}

async fn pass_on(client: TcpStream, server: TcpStream, cuts: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        let publishes = buffer[..read].windows(8).any(|text| text == b"counter.");
        if publishes && cuts.swap(false, Ordering::Relaxed) {
            break;
        }
        if to_server.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    back.abort();
}

#[tokio::test]
async fn a_connection_that_is_cut_in_mid_publish_parks_nothing() {
    let mut nats = Nats::absent();
    nats.start().await;
    let cuts = Arc::new(AtomicBool::new(false));
    let address = nats.url().replace("nats://", "");
    let failing = Failing::start(&cutting_proxy(address, Arc::clone(&cuts)).await).await;
    cuts.store(true, Ordering::Relaxed);
    failing.fails_to_publish().await;
    assert!(!cuts.load(Ordering::Relaxed), "it was cut");
    failing.recovers().await;
    assert_eq!(failing.toy.place.messages().await.len(), 2);
    failing.finish().await;
}
