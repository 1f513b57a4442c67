//! What is refused: too much, too slow, and what a page of another site sends.

use std::time::Duration;

use axum::{Router, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use bson::doc;
use reqwest::{Method, StatusCode};
use serde_json::json;
use service::http::serve;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{Place, TestApp, assert_problem, eventually, nats_url, token},
    servers::Mongo,
};

#[tokio::test]
async fn one_user_over_the_rate_is_429_and_others_are_not() {
    let app = TestApp::begin_with(Place::new(), |http| http.rate_limit = 1).await;
    eventually("ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
    let list = |user: &str| {
        app.request(Method::GET, "/api/tickets")
            .bearer_auth(token(user))
            .send()
    };
    let first = list("alice").await.unwrap();
    assert_eq!(first.headers()["ratelimit-policy"], "\"caller\";q=2;w=2");
    assert_eq!(first.headers()["ratelimit"], "\"caller\";r=1;t=1");
    assert_eq!(list("alice").await.unwrap().status(), 200);
    let refused = list("alice").await.unwrap();
    let wait: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=2).contains(&wait));
    assert_eq!(refused.headers()["ratelimit"], "\"caller\";r=0;t=2");
    assert_problem(refused, 429).await;
    assert_eq!(list("bob").await.unwrap().status(), 200);
    // Without a user it is the address that is counted; health is not.
    let statuses = [(); 3].map(|()| app.get("/api/tickets"));
    let statuses = futures_util::future::join_all(statuses).await;
    assert!(statuses.iter().any(|answer| answer.status() == 429));
    assert_eq!(app.get("/health/live").await.status(), 200);
    app.finish().await;
}

#[tokio::test]
async fn above_the_concurrency_limit_requests_are_refused_at_once() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let app = TestApp::begin_with(place, |http| http.concurrency_limit = 1).await;
    eventually("ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
    let admin = app.place.database().await.client().database("admin");
    let hold = doc! {
        "configureFailPoint": "failCommand", "mode": "alwaysOn",
        "data": { "failCommands": ["find"], "appName": &app.place.name, "namespace": format!("{}.tickets", app.place.name), "blockConnection": true, "blockTimeMS": 2000 },
    };
    admin.run_command(hold).await.unwrap();
    let lists = [app.get("/api/tickets"), app.get("/api/tickets")];
    let mut statuses: Vec<StatusCode> = futures_util::future::join_all(lists)
        .await
        .iter()
        .map(|answer| answer.status())
        .collect();
    statuses.sort();
    assert_eq!(statuses, [200, 503]);
    app.finish().await;
}

#[tokio::test]
async fn a_connection_that_sends_its_head_too_slowly_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().route("/", get(async || "fine"));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(
        listener,
        routes,
        Duration::from_millis(100),
        stop.clone(),
    ));
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_page_of_another_site_cannot_write_with_the_session_cookie() {
    let trusted = "https://app.example.com";
    let app = TestApp::begin_with(Place::new(), |http| {
        http.cors_origins = vec![trusted.parse().unwrap()];
    })
    .await;
    eventually("ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
    let session = STANDARD.encode(json!({ "jwt": token("alice") }).to_string());
    let own = app.address.clone();
    let post = |headers: &[(&'static str, &str)]| {
        let mut post = app
            .request(Method::POST, "/api/tickets")
            .header("cookie", format!("express:sess={session}"));
        for (name, value) in headers {
            post = post.header(*name, *value);
        }
        post.json(&json!({ "title": "concert", "price": 1 })).send()
    };
    for cross in [
        &[("sec-fetch-site", "cross-site")][..],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://other.example.com"),
        ],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        assert_problem(post(cross).await.unwrap(), 403).await;
    }
    for fine in [
        &[][..],
        &[("sec-fetch-site", "same-origin")],
        &[("origin", &own)],
        &[("origin", trusted), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(post(fine).await.unwrap().status(), 201);
    }
    // A page cannot make up a header of its own: a token there is proof.
    let by_header = app
        .request(Method::POST, "/api/tickets")
        .bearer_auth(token("alice"))
        .header("sec-fetch-site", "cross-site");
    assert_eq!(
        by_header
            .json(&json!({ "title": "concert", "price": 1 }))
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    app.finish().await;
}

#[tokio::test]
async fn other_origins_are_told_nothing_unless_configured() {
    let preflight = async |app: &TestApp| {
        let request = app
            .request(Method::OPTIONS, "/api/tickets")
            .header("origin", "https://app.example.com");
        request
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap()
    };
    let app = TestApp::start().await;
    assert!(
        !preflight(&app)
            .await
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let live = app.get("/health/live").await;
    assert_eq!(live.headers()["x-content-type-options"], "nosniff");
    assert_eq!(
        live.headers()["content-security-policy"],
        "default-src 'none'; frame-ancestors 'none'"
    );
    app.finish().await;
    let app = TestApp::begin_with(Place::new(), |http| {
        http.cors_origins = vec!["https://app.example.com".parse().unwrap()];
    })
    .await;
    eventually("ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
    let allowed = preflight(&app).await;
    assert_eq!(
        allowed.headers()["access-control-allow-origin"],
        "https://app.example.com"
    );
    assert_eq!(
        allowed.headers()["access-control-allow-credentials"],
        "true"
    );
    app.finish().await;
}
