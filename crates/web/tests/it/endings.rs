//! What ends a connection that asks for nothing whole, takes no answer, or may have smuggled a request in.

use std::time::Duration;

use testbed::DEADLINE;
use tokio::{io::AsyncWriteExt, time::timeout};
use web::Timing;

use crate::connections::{Fine, PREFACE_AND_EMPTY_SETTINGS, ask, hung_up_on};

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
