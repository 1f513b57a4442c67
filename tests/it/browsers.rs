//! What pages of other sites may do, and what browsers are told.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::json;

use crate::harness::{TestApp, assert_problem, token};

#[tokio::test]
async fn a_page_of_another_site_cannot_write_with_the_session_cookie() {
    let trusted = "https://app.example.com";
    let app = TestApp::start_with(|http| {
        http.cors_origins = vec![trusted.parse().unwrap()];
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
    let app = TestApp::start_with(|http| {
        http.cors_origins = vec!["https://app.example.com".parse().unwrap()];
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
