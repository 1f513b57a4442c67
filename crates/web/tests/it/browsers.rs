//! What pages of other sites may do, and what browsers are told.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, Response};
use serde_json::json;

use testbed::assert_problem;

use crate::toy::{Toy, token};

#[tokio::test]
async fn a_page_of_another_site_cannot_write_with_the_session_cookie() {
    let (trusted, app_of_a_phone) = ("https://app.example.com", "capacitor://localhost");
    let app = Toy::start_with(|http| {
        http.cors_origins = [trusted, app_of_a_phone]
            .map(|it| it.parse().unwrap())
            .into();
    })
    .await;
    let session = STANDARD.encode(json!({ "jwt": token("alice") }).to_string());
    let own = app.address.clone();
    let of_another_scheme = own.replace("http://", "evil://");
    let post = |headers: &[(&'static str, &str)]| {
        let mut post = app
            .request(Method::POST, "/api/notes")
            .header("cookie", format!("express:sess={session}"));
        for (name, value) in headers {
            post = post.header(*name, *value);
        }
        post.json(&json!({ "text": "concert" })).send()
    };
    for cross in [
        &[("sec-fetch-site", "cross-site")][..],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://other.example.com"),
        ],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", own.as_str()), ("origin", "https://evil.example")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[("origin", &of_another_scheme)],
        &[("origin", "capacitor://localhost:1")],
        &[
            ("origin", "ionic://localhost"),
            ("sec-fetch-site", "cross-site"),
        ],
    ] {
        assert_problem(post(cross).await.unwrap(), 403).await;
    }
    for fine in [
        &[][..],
        &[("sec-fetch-site", "same-origin")],
        // By the user, not by a page.
        &[("sec-fetch-site", "none")],
        &[("origin", &own)],
        &[("origin", trusted), ("sec-fetch-site", "cross-site")],
        &[("origin", app_of_a_phone), ("sec-fetch-site", "cross-site")],
        &[("origin", app_of_a_phone)],
    ] {
        assert_eq!(post(fine).await.unwrap().status(), 201);
    }
    // A page cannot make up a header of its own: a token there is proof.
    let by_header = app
        .request(Method::POST, "/api/notes")
        .bearer_auth(token("alice"))
        .header("sec-fetch-site", "cross-site");
    assert_eq!(
        by_header
            .json(&json!({ "text": "concert" }))
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    app.finish().await;
}

const PAGES: &str = "https://app.example.com";

async fn asks_first(app: &Toy, origin: &str, method: &str) -> Response {
    let request = app
        .request(Method::OPTIONS, "/api/notes")
        .header("origin", origin)
        .header("access-control-request-headers", "idempotency-key,if-match");
    let request = request.header("access-control-request-method", method);
    request.send().await.unwrap()
}

#[tokio::test]
async fn pages_of_other_origins_may_do_nothing_by_default() {
    let app = Toy::start().await;
    let answer = asks_first(&app, PAGES, "POST").await;
    let read = app.request(Method::GET, "/api/notes");
    let read = read.header("origin", PAGES).send().await.unwrap();
    for answer in [answer, read] {
        let mut names = answer.headers().keys().map(|name| name.as_str());
        assert!(!names.any(|name| name.starts_with("access-control-")));
    }
    app.finish().await;
}

#[tokio::test]
async fn pages_of_configured_origins_may_call_with_cookies_and_read_our_headers() {
    let origins = vec![PAGES.parse().unwrap()];
    let app = Toy::start_with(|http| http.cors_origins = origins).await;
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let allowed = asks_first(&app, PAGES, method).await;
        let told = |name: &str| allowed.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(told("access-control-allow-origin"), PAGES);
        assert_eq!(told("access-control-allow-credentials"), "true");
        // Those that the routes have, whichever is asked for.
        assert_eq!(told("access-control-allow-methods"), "GET,POST,PUT,DELETE");
        assert!(told("access-control-allow-methods").contains(method));
        assert_eq!(told("access-control-max-age"), "3600");
        assert_eq!(
            told("access-control-allow-headers"),
            "idempotency-key,if-match"
        );
    }
    let read = app.request(Method::GET, "/api/notes");
    let read = read.header("origin", PAGES).send().await.unwrap();
    assert_eq!(read.headers()["access-control-allow-origin"], PAGES);
    let exposed = read.headers()["access-control-expose-headers"].to_str();
    let exposed: BTreeSet<&str> = exposed.unwrap().split(',').collect();
    let ours = [
        "etag",
        "location",
        "link",
        "retry-after",
        "www-authenticate",
        "x-request-id",
        "ratelimit",
        "ratelimit-policy",
        "idempotent-replayed",
    ];
    assert_eq!(exposed, BTreeSet::from(ours));
    let other = asks_first(&app, "https://other.example.com", "POST").await;
    let allowed = other.headers().get("access-control-allow-origin");
    assert_eq!(allowed, None);
    app.finish().await;
}

#[tokio::test]
async fn every_answer_keeps_browsers_from_guessing_telling_loading_and_framing() {
    let app = Toy::start().await;
    let id = app.create().await;
    let mut answers = Vec::new();
    for path in [
        "/health/live",
        "/health/ready",
        "/api/notes",
        &format!("/api/notes/{id}"),
        "/api/notes/nonsense",
        "/api/notes?limit=x",
        "/nowhere",
        "/openapi.json",
    ] {
        answers.push(app.get(path).await);
    }
    answers.push(app.post("alice", json!({})).await);
    let unknown = app.request(Method::DELETE, "/api/notes").send().await;
    answers.push(unknown.unwrap());
    let unsigned = app.request(Method::POST, "/api/notes").send().await;
    answers.push(unsigned.unwrap());
    for answer in answers {
        let (url, headers) = (answer.url().path().to_owned(), answer.headers());
        assert_eq!(headers["x-content-type-options"], "nosniff", "{url}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{url}");
        let nothing = "default-src 'none'; frame-ancestors 'none'";
        assert!(headers.contains_key("cache-control"), "{url}");
        // The document is served with the page that shows it.
        if url != "/openapi.json" {
            assert_eq!(headers["content-security-policy"], nothing, "{url}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn the_page_of_the_interface_needs_nothing_from_elsewhere_and_may_load_nothing_from_there() {
    let app = Toy::start().await;
    let page = app.get("/docs/").await;
    assert_eq!(page.status(), 200);
    assert_eq!(
        page.headers()["content-security-policy"],
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
    );
    let page = page.text().await.unwrap();
    let loaded = page.split(" src=\"").chain(page.split(" href=\""));
    let loaded = loaded.filter_map(|rest| rest.split('"').next());
    let loaded: Vec<&str> = loaded.filter(|it| it.starts_with("./")).collect();
    assert!(loaded.len() >= 4, "{page}");
    for path in loaded {
        let path = path.trim_start_matches('.');
        assert_eq!(
            app.get(&format!("/docs{path}")).await.status(),
            200,
            "{path}"
        );
    }
    assert!(!page.contains("\"http") && !page.contains("\"//"), "{page}");
    app.finish().await;
}

#[tokio::test]
async fn the_page_of_the_events_has_no_script_and_may_load_its_own_style_alone() {
    let app = Toy::start().await;
    let page = app.get("/docs/events").await;
    assert_eq!(page.status(), 200);
    assert_eq!(
        page.headers()["content-security-policy"],
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
    );
    let page = page.text().await.unwrap();
    assert!(page.contains("a note's &lt;script&gt;"), "{page}");
    for forbidden in ["<script", " style=", "<style", "http:", "https:"] {
        assert!(!page.contains(forbidden), "{forbidden}: {page}");
    }
    let style = app.get("/docs/events.css").await;
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    assert!(page.contains(r#"href="/docs/events.css""#));
    app.finish().await;
}
