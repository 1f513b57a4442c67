//! Connections: heads that are no HTTP, HTTP/2 without TLS, and what clients are told before we close one.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use futures_util::future::join_all;
use reqwest::{Client, Version};
use serde_json::Value;
use testbed::DEADLINE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use web::{Closing, HEAD_LIMIT_BYTES, Timing, serve};

use crate::toy::stacked;

pub(crate) const PREFACE_AND_EMPTY_SETTINGS: &str =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";

/// A service that answers `fine`.
pub(crate) struct Fine {
    pub(crate) address: SocketAddr,
    pub(crate) closing: Closing,
    pub(crate) running: JoinHandle<()>,
}

impl Fine {
    pub(crate) async fn start(timing: Timing) -> Self {
        let routes = Router::new().route("/", get(async || "fine"));
        let routes = stacked(routes, 256, timing);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, closing) = (listener.local_addr().unwrap(), Closing::default());
        let running = tokio::spawn(serve(listener, routes, timing, closing.clone()));
        Self {
            address,
            closing,
            running,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What is sent back until the connection is closed.
    pub(crate) async fn tell(&self, text: &str) -> String {
        let mut connection = self.connect().await;
        connection.write_all(text.as_bytes()).await.unwrap();
        read_to_end(&mut connection).await
    }
}

pub(crate) async fn read_to_end(connection: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = timeout(DEADLINE, connection.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    answer
}

pub(crate) async fn hung_up_on(connection: &mut TcpStream) {
    let mut told = Vec::new();
    let read = timeout(DEADLINE, connection.read_to_end(&mut told));
    read.await.unwrap().unwrap();
}

/// One whole answer of `fine`.
pub(crate) async fn ask(connection: &mut TcpStream) -> String {
    connection
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"fine") {
        assert_ne!(connection.read_buf(&mut answer).await.unwrap(), 0);
    }
    String::from_utf8(answer).unwrap()
}

fn assert_refused(answer: &str, status: u16) {
    let (head, body) = answer.rsplit_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    for told in [
        "content-type: application/problem+json",
        "x-request-id: ",
        "connection: close",
        "date: ",
        "nosniff",
        "no-store",
    ] {
        assert!(head.contains(told), "{told}: {answer}");
    }
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{answer}"
    );
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["errors"][0]["message"].is_string());
}

#[tokio::test]
async fn a_head_that_is_no_http_or_too_large_is_told_as_a_problem() {
    let fine = Fine::start(Timing::default()).await;
    let get = "GET / HTTP/1.1\r\nhost: x\r\n";
    for no_http in [
        "nonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "P\u{1}\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        assert_refused(&fine.tell(no_http).await, 400);
    }
    for broken in [
        "a b: c\r\n",
        ": c\r\n",
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: gzip\r\n",
    ] {
        assert_refused(&fine.tell(&format!("{get}{broken}\r\n")).await, 400);
    }
    let long = "a".repeat(HEAD_LIMIT_BYTES);
    assert_refused(&fine.tell(&format!("{get}x: {long}\r\n\r\n")).await, 431);
    assert_refused(
        &fine
            .tell(&format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await,
        431,
    );
    let many = "x: y\r\n".repeat(100);
    assert_refused(&fine.tell(&format!("{get}{many}\r\n")).await, 431);
    // Behind answers of ours, too.
    let mut connection = fine.connect().await;
    for _ in 0..3 {
        assert!(ask(&mut connection).await.starts_with("HTTP/1.1 200 OK"));
    }
    connection.write_all(b"nonsense\r\n\r\n").await.unwrap();
    assert_refused(&read_to_end(&mut connection).await, 400);
    let pipelined = fine
        .tell(&format!("{get}\r\n{get}\r\nnonsense\r\n\r\n"))
        .await;
    assert_eq!(pipelined.matches("HTTP/1.1 200 OK").count(), 2);
    let (_, refused) = pipelined.rsplit_once("fine").unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[tokio::test]
async fn a_head_of_32_kb_is_taken() {
    let fine = Fine::start(Timing::default()).await;
    let (head, end) = (
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: ",
        "\r\n\r\n",
    );
    let length = HEAD_LIMIT_BYTES - head.len() - end.len();
    let answer = fine
        .tell(&format!("{head}{}{end}", "a".repeat(length)))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_refused(
        &fine
            .tell(&format!("{head}{}{end}", "a".repeat(length + 1)))
            .await,
        431,
    );
}

#[tokio::test]
async fn who_sends_nothing_or_a_part_of_the_preface_of_http2_is_hung_up_on() {
    let head = Duration::from_millis(100);
    let fine = Fine::start(Timing {
        idle: head,
        head,
        ..Timing::default()
    })
    .await;
    for begin in ["", "P", "PRI * HTTP/2.0\r\n\r\n"] {
        assert_eq!(fine.tell(begin).await, "", "{begin}");
    }
}

#[tokio::test]
async fn http2_is_spoken_with_who_begins_with_it() {
    let fine = Fine::start(Timing::default()).await;
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/", fine.address);
    let answers = join_all((0..20).map(|_| client.get(&url).send())).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert!(answer.headers().contains_key("x-request-id"));
        assert_eq!(answer.text().await.unwrap(), "fine");
    }
    let nowhere = client.get(format!("{url}nowhere")).send().await.unwrap();
    testbed::assert_problem(nowhere, 404).await;
}

#[tokio::test]
async fn a_connection_of_http2_is_closed_when_nothing_is_asked_on_it() {
    let head = Duration::from_millis(100);
    let fine = Fine::start(Timing {
        idle: head,
        write: head,
        ..Timing::default()
    })
    .await;
    let mut connection = fine.connect().await;
    connection
        .write_all(PREFACE_AND_EMPTY_SETTINGS.as_bytes())
        .await
        .unwrap();
    // Its answers to our pings never come.
    hung_up_on(&mut connection).await;
}

#[tokio::test]
async fn a_connection_that_rests_is_served_as_one_that_does_not_until_it_is_idle_for_too_long() {
    let fine = Fine::start(Timing {
        rest: Duration::ZERO,
        idle: Duration::from_secs(2),
        ..Timing::default()
    })
    .await;
    let mut connection = fine.connect().await;
    for _ in 0..3 {
        assert!(ask(&mut connection).await.starts_with("HTTP/1.1 200 "));
    }
    let (begin, end) = ("GET / HTTP/1.1\r\n", "host: x\r\n\r\n");
    let [whole, line] = [format!("{begin}{end}"), "\r\n".to_owned()];
    // Two at once and a half; an empty line before a head.
    for (sent, answers) in [
        (format!("{whole}{whole}{begin}"), 2),
        (end.to_owned(), 1),
        (line.clone(), 0),
        (whole.clone(), 1),
        (format!("{line}{whole}"), 1),
    ] {
        connection.write_all(sent.as_bytes()).await.unwrap();
        let mut told = String::new();
        while told.matches("\r\n\r\nfine").count() < answers {
            let mut part = Vec::new();
            assert_ne!(connection.read_buf(&mut part).await.unwrap(), 0, "{sent:?}");
            told += std::str::from_utf8(&part).unwrap();
        }
    }
    assert_eq!(read_to_end(&mut connection).await, "");
}

#[tokio::test]
async fn before_a_connection_closes_its_answers_say_so_and_idle_ones_are_closed_last() {
    for rest in [Timing::default().rest, Duration::ZERO] {
        let timing = Timing {
            rest,
            ..Timing::default()
        };
        idle_ones_are_closed_last(timing).await;
    }
}

async fn idle_ones_are_closed_last(timing: Timing) {
    let fine = Fine::start(timing).await;
    let [mut busy, mut idle] = [fine.connect().await, fine.connect().await];
    for connection in [&mut busy, &mut idle] {
        assert!(!ask(connection).await.contains("connection: close"));
    }
    fine.closing.soon.cancel();
    assert!(ask(&mut busy).await.contains("connection: close"));
    assert_eq!(read_to_end(&mut busy).await, "");
    // Whoever comes again meanwhile is served.
    let mut again = fine.connect().await;
    assert!(ask(&mut again).await.contains("connection: close"));
    let mut fresh = fine.connect().await;
    fine.closing.now.cancel();
    // It was idle, or had just come, and asks for something all the same.
    for connection in [&mut idle, &mut fresh] {
        assert!(ask(connection).await.contains("connection: close"));
        assert_eq!(read_to_end(connection).await, "");
    }
    timeout(DEADLINE, fine.running).await.unwrap().unwrap();
    TcpStream::connect(fine.address).await.unwrap_err();
}

#[tokio::test]
async fn a_client_of_http2_is_told_to_go_and_loses_nothing() {
    let fine = Fine::start(Timing::default()).await;
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/", fine.address);
    let ask = || async { client.get(&url).send().await.unwrap().status() };
    assert_eq!(ask().await, 200);
    fine.closing.soon.cancel();
    for _ in 0..20 {
        assert_eq!(ask().await, 200);
    }
    fine.closing.now.cancel();
    timeout(DEADLINE, fine.running).await.unwrap().unwrap();
}
