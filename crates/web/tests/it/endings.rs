//! What ends a connection that asks for nothing whole, takes no answer, or may have smuggled a request in.

use std::time::Duration;

use axum::{Router, routing::get};
use testbed::DEADLINE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use web::{BODY_LIMIT_PARTS, Closing, LINGER_LIMIT_BYTES, Timing, serve};

use crate::{
    connections::{Fine, PREFACE_AND_EMPTY_SETTINGS, ask, hung_up_on, read_to_end},
    limits::{self, connect_and_send},
    toy::{Toy, stacked, token},
};

#[tokio::test]
async fn neither_a_begun_head_nor_a_silent_client_keeps_us_from_ending() {
    let fine = Fine::start(Timing::default()).await;
    let mut connections = Vec::new();
    for begin in ["G", "GET / HTTP/1.1\r\n", PREFACE_AND_EMPTY_SETTINGS] {
        let mut connection = fine.connect().await;
        connection.write_all(begin.as_bytes()).await.unwrap();
        connections.push(connection);
    }
    // They are known by now.
    assert!(ask(&mut fine.connect().await).await.contains("fine"));
    fine.closing.soon.cancel();
    fine.closing.now.cancel();
    timeout(DEADLINE, fine.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_of_http2_that_opens_no_window_for_its_answer_is_hung_up_on() {
    let short = Duration::from_millis(50);
    let fine = Fine::start(Timing {
        body: short,
        work: short,
        write: short,
        ..Timing::default()
    })
    .await;
    let mut connection = fine.connect().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    // GET http://x/, of the static table but for the host.
    let headers = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'x'];
    let sent = [&preface[..], &settings, &headers].concat();
    connection.write_all(&sent).await.unwrap();
    hung_up_on(&mut connection).await;
}

#[tokio::test]
async fn behind_a_request_that_is_chunked_and_has_a_length_the_connection_is_closed() {
    let fine = Fine::start(Timing::default()).await;
    // To whoever believes the length, the second is a part of the first.
    let first = "GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 40\r\n\r\n0\r\n\r\n";
    let second = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let answers = fine.tell(&format!("{first}{second}")).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
}

/// Reads one answer, whose body is a problem.
async fn refusal(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"]}") {
        let read = timeout(DEADLINE, connection.read_buf(&mut answer)).await;
        assert_ne!(
            read.unwrap().unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    String::from_utf8(answer).unwrap()
}

/// What is too large, as far as its client has sent it when it is refused.
fn too_large() -> [(&'static str, Vec<u8>); 4] {
    let post = "POST / HTTP/1.1\r\nhost: x\r\n";
    let body = "a".repeat(70_000);
    [
        (
            "413",
            format!("{post}content-length: 900000\r\n\r\n{body}").into_bytes(),
        ),
        (
            "413",
            format!(
                "{post}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}",
                900_000
            )
            .into_bytes(),
        ),
        // As clients ask that would rather speak HTTP/2.
        (
            "413",
            format!(
                "{post}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\
                 content-length: 900000\r\n\r\n{body}"
            )
            .into_bytes(),
        ),
        (
            "431",
            format!("{post}x-long: {}", "a".repeat(40_000)).into_bytes(),
        ),
    ]
}

#[tokio::test]
async fn a_client_that_goes_on_sending_what_is_refused_sees_the_answer() {
    let fine = Fine::start(Timing::default()).await;
    for (status, begin) in too_large() {
        let mut connection = fine.connect().await;
        connection.write_all(&begin).await.unwrap();
        let answer = refusal(&mut connection).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("connection: close"), "{answer}");
        // Nobody resets the connection, however often it writes.
        for _ in 0..40 {
            connection.write_all(&[b'a'; 10_000]).await.unwrap();
        }
        connection.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut connection).await, "");
    }
}

#[tokio::test]
async fn an_answer_goes_out_whole_however_long_it_takes_where_a_request_waits_behind_it() {
    // More than goes out while a head has time.
    const BYTES: usize = 32 * 1024 * 1024;
    let timing = Timing {
        head: Duration::from_millis(5),
        ..Timing::default()
    };
    let routes = Router::new().route("/", get(async || "a".repeat(BYTES)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap());
    let mut connection = connected.await.unwrap();
    let routes = stacked(routes, 256, timing);
    tokio::spawn(serve(listener, routes, timing, Closing::default()));
    let one = "GET / HTTP/1.1\r\nhost: x\r\n";
    let both = format!("{one}\r\n{one}connection: close\r\n\r\n");
    connection.write_all(both.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let read = timeout(DEADLINE, connection.read_to_end(&mut answers));
    read.await.unwrap().unwrap();
    assert!(answers.len() > 2 * BYTES, "{}", answers.len());
}

#[tokio::test]
async fn what_is_refused_is_not_read_for_ever() {
    let fine = Fine::start(Timing::default()).await;
    let mut silent = Vec::new();
    for (_, begin) in too_large() {
        // Who sends on and on.
        let mut connection = fine.connect().await;
        connection.write_all(&begin).await.unwrap();
        refusal(&mut connection).await;
        let mut sent = 0;
        while connection.write_all(&[b'a'; 10_000]).await.is_ok() {
            sent += 10_000;
            // What the system's buffers take is not read.
            assert!(sent < LINGER_LIMIT_BYTES + 16 * 1024 * 1024);
        }
        // Who sends no more, and does not go.
        let mut connection = fine.connect().await;
        connection.write_all(&begin).await.unwrap();
        refusal(&mut connection).await;
        silent.push(connection);
    }
    fine.closing.soon.cancel();
    fine.closing.now.cancel();
    timeout(DEADLINE, fine.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_that_begins_behind_a_request_has_no_more_time_than_another() {
    let fine = Fine::start(Timing {
        head: Duration::from_millis(100),
        ..Timing::default()
    })
    .await;
    let get = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    let chunked =
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for request in [get, post, chunked] {
        for begun in ["G", "GET / HTTP/1.1\r\nhost: x\r\n"] {
            // The time of idleness is longer than the test waits.
            let told = fine.tell(&format!("{request}{begun}")).await;
            assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");
        }
    }
    // A connection that is idle behind one keeps its time.
    let mut idle = fine.connect().await;
    for request in [get, post, chunked, get] {
        idle.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"fine") && !answer.ends_with(b"]}") {
            assert_ne!(idle.read_buf(&mut answer).await.unwrap(), 0);
        }
        // An empty line behind a body is passed over.
        idle.write_all(b"\r\n").await.unwrap();
        let is_hung_up_on = timeout(Duration::from_millis(200), idle.readable());
        assert!(is_hung_up_on.await.is_err(), "{request}");
    }
}

#[tokio::test]
async fn a_frame_or_a_head_of_http2_that_is_never_whole_ends_its_connection() {
    let fine = Fine::start(Timing {
        head: Duration::from_millis(100),
        ..Timing::default()
    })
    .await;
    // HEADERS without END_HEADERS; nine bytes of a frame of six; a part of a frame's header.
    let head = [0, 0, 3, 1, 1, 0, 0, 0, 1, 0x82, 0x86, 0x84];
    let frame = [0, 0, 6, 4, 0, 0, 0, 0, 0];
    for begun in [&head[..], &frame, &frame[..4]] {
        let mut connection = fine.connect().await;
        let sent = [PREFACE_AND_EMPTY_SETTINGS.as_bytes(), begun].concat();
        connection.write_all(&sent).await.unwrap();
        hung_up_on(&mut connection).await;
    }
}

#[tokio::test]
async fn a_body_comes_in_128_parts_at_most() {
    let app = Toy::start().await;
    let address = app.address.trim_start_matches("http://").parse().unwrap();
    let head = "POST /api/notes HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n";
    let head = format!("{head}authorization: Bearer {}\r\n\r\n", token("alice"));
    let body = "{\"text\":\"concert\"}";
    for (parts, status) in [
        (BODY_LIMIT_PARTS, 201),
        (BODY_LIMIT_PARTS + 1, 400),
        (60_000, 400),
    ] {
        let mut chunks = "1\r\n \r\n".repeat(parts - 1);
        chunks += &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let answer =
            limits::read_to_end(connect_and_send(address, &format!("{head}{chunks}")).await).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{parts}: {answer}"
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn a_body_of_a_stated_length_may_come_byte_by_byte() {
    let app = Toy::start().await;
    let address = app.address.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.set_nodelay(true).unwrap();
    let body = format!(
        "{{\"text\":\"concert\"{}}}",
        " ".repeat(2 * BODY_LIMIT_PARTS)
    );
    let head = "POST /api/notes HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let token = token("alice");
    let length = body.len();
    let head = format!("{head}authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    for byte in body.as_bytes().chunks(1) {
        connection.write_all(byte).await.unwrap();
        // Each is read before the next one is sent: what is not read yet would come with it.
        tokio::task::yield_now().await;
    }
    let answer = limits::read_to_end(connection).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    app.finish().await;
}
