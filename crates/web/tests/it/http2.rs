//! Heads of HTTP/2 that are refused, and how many requests are taken at once.

use reqwest::{Client, Method};
use testbed::assert_problem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use web::{HEAD_LIMIT_BYTES, Timing};

use crate::connections::{Fine, PREFACE_AND_EMPTY_SETTINGS};

fn client() -> Client {
    Client::builder().http2_prior_knowledge().build().unwrap()
}

#[tokio::test]
async fn a_head_of_http2_that_is_too_large_is_told_as_a_problem_too() {
    let fine = Fine::start(Timing::default()).await;
    let (client, url) = (client(), format!("http://{}/", fine.address));
    let ask = async |length: usize| {
        let request = client.get(&url).header("x-long", "a".repeat(length));
        request.send().await.unwrap()
    };
    assert_eq!(ask(HEAD_LIMIT_BYTES - 1_000).await.status(), 200);
    let refused = ask(HEAD_LIMIT_BYTES).await;
    assert!(refused.headers().contains_key("x-request-id"));
    assert_problem(refused, 431).await;
    // h2 answers this one, without a body.
    assert_eq!(ask(2 * HEAD_LIMIT_BYTES).await.status(), 431);
    assert_eq!(ask(1).await.status(), 200);
}

#[tokio::test]
async fn a_host_in_http2_that_is_not_that_of_its_authority_is_400() {
    let fine = Fine::start(Timing::default()).await;
    let (client, url) = (client(), format!("http://{}/", fine.address));
    let ask = async |host: &str| {
        let request = client.request(Method::GET, &url).header("host", host);
        request.send().await.unwrap()
    };
    assert_eq!(ask(&fine.address.to_string()).await.status(), 200);
    for other in ["evil.example", "127.0.0.1", ""] {
        assert_problem(ask(other).await, 400).await;
    }
}

#[tokio::test]
async fn a_connection_of_http2_has_100_requests_at_once() {
    let fine = Fine::start(Timing::default()).await;
    let mut connection = fine.connect().await;
    connection
        .write_all(PREFACE_AND_EMPTY_SETTINGS.as_bytes())
        .await
        .unwrap();
    // SETTINGS come first (RFC 9113 §3.4): three bytes of length, type 4, no flags, no stream.
    let mut head = [0; 9];
    connection.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3..], [4, 0, 0, 0, 0, 0]);
    let mut settings = vec![0; usize::from(head[2])];
    connection.read_exact(&mut settings).await.unwrap();
    // SETTINGS_MAX_CONCURRENT_STREAMS (§6.5.2).
    let most = [0, 3, 0, 0, 0, 100];
    assert!(settings.chunks(6).any(|it| it == most), "{settings:?}");
}
