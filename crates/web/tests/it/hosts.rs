//! Whom a request is for: exactly one `Host`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::toy::{Toy, token};

/// All that the service answers to these lines of a head.
async fn ask(app: &Toy, lines: &[&str], body: &str) -> String {
    let address = app.address.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("{}\r\nconnection: close\r\n\r\n{body}", lines.join("\r\n"));
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_without_a_host_or_with_two_is_400() {
    let app = Toy::start().await;
    let get = "GET /api/notes HTTP/1.1";
    for refused in [
        &[get][..],
        &[get, "Host: a", "Host: a"],
        &[get, "Host: a", "Host: b"],
        &[get, "Host: a, b"],
        &[get, "Host: a b"],
        &[get, "Host: me@a"],
        &[get, "Host: a/b"],
        &["GET /api/notes HTTP/1.0", "Host: a", "Host: b"],
        &["GET /health/live HTTP/1.1"],
        &[
            "OPTIONS /api/notes HTTP/1.1",
            "Origin: http://a",
            "Access-Control-Request-Method: POST",
        ],
    ] {
        let answer = ask(&app, refused, "").await;
        assert!(answer.contains(" 400 "), "{refused:?}: {answer}");
        assert!(
            answer.contains("application/problem+json"),
            "{refused:?}: {answer}"
        );
        assert!(answer.contains("x-request-id: "), "{refused:?}: {answer}");
    }
    for taken in [
        &[get, "Host: a"][..],
        &[get, "Host: [::1]:3000"],
        &[get, "Host:"],
        &["GET http://a/api/notes HTTP/1.1", "Host: b"],
        &["GET /api/notes HTTP/1.0"],
    ] {
        let answer = ask(&app, taken, "").await;
        assert!(answer.contains(" 200 OK"), "{taken:?}: {answer}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_page_of_another_site_does_not_pass_by_a_second_host() {
    let app = Toy::start().await;
    let session = STANDARD.encode(json!({ "jwt": token("alice") }).to_string());
    let body = "{\"text\":\"hi\"}";
    let cookie = format!("Cookie: express:sess={session}");
    let length = format!("Content-Length: {}", body.len());
    let mut head = vec![
        "POST /api/notes HTTP/1.1",
        "Host: evil.example",
        "Origin: http://evil.example",
    ];
    head.extend([cookie.as_str(), &length, "Content-Type: application/json"]);
    // What the browser sees as its own site is no other one.
    assert!(ask(&app, &head, body).await.contains(" 201 "));
    head.insert(2, "Host: tickets.example");
    assert!(ask(&app, &head, body).await.contains(" 400 "));
    app.finish().await;
}
