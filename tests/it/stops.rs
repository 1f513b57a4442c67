//! A stop under load, without a proxy that would send a lost request again.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use testbed::{eventually, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{harness::Place, process::command};

const CLIENTS: usize = 80;
const REQUEST: &[u8] = b"GET /api/tickets?limit=1 HTTP/1.1\r\nhost: tickets\r\n\r\n";

/// What became of one client's requests.
#[derive(Debug, Default)]
struct Outcome {
    answered: usize,
    /// Sent on a connection that was open as far as the client knew, and never answered.
    lost: usize,
    told_to_close: usize,
}

/// One answer; `None` where the connection ends first.
async fn ask(connection: &mut TcpStream) -> Option<String> {
    connection.write_all(REQUEST).await.ok()?;
    let mut answer = Vec::new();
    // The list is empty.
    while !answer.ends_with(b"\r\n\r\n[]") {
        if connection.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(answer).ok()
}

/// Asks on connections that are kept, as long as somebody listens.
async fn keep_asking(address: String) -> Outcome {
    let mut outcome = Outcome::default();
    while let Ok(mut connection) = TcpStream::connect(&address).await {
        loop {
            let Some(answer) = ask(&mut connection).await else {
                outcome.lost += 1;
                break;
            };
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            outcome.answered += 1;
            if answer.contains("connection: close") {
                outcome.told_to_close += 1;
                break;
            }
        }
    }
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_request_of_clients_that_keep_their_connections() {
    let place = Place::new();
    let (mut process, address) = start(&mut command(&place)).await;
    let address = address.trim_start_matches("http://").to_owned();
    let clients = (0..CLIENTS).map(|_| tokio::spawn(keep_asking(address.clone())));
    let clients = tokio::spawn(join_all(clients));
    eventually("the load is on", async || {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        let asked = timeout(Duration::from_secs(5), ask(&mut connection));
        asked.await.is_ok_and(|answer| answer.is_some())
    })
    .await;
    process.signal("-TERM");
    let outcomes = clients.await.unwrap();
    assert_eq!(process.ended().await.code(), Some(0));
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(Result::unwrap).collect();
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    assert_eq!(sum(|it| it.lost), 0, "of {}", sum(|it| it.answered));
    assert!(sum(|it| it.told_to_close) >= CLIENTS, "{outcomes:?}");
    place.remove().await;
}

#[tokio::test]
async fn a_second_ctrl_c_ends_it_at_once() {
    let place = Place::new();
    for first in ["-INT", "-TERM"] {
        let (mut process, _) = start(command(&place).env("STOP_DELAY", "9s")).await;
        process.signal(first);
        process.told("stopping");
        let asked = Instant::now();
        process.signal("-INT");
        assert_eq!(process.ended().await.code(), Some(130), "{first}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{first}");
        assert!(process.log().contains("ended at once"), "{first}");
    }
    place.remove().await;
}
