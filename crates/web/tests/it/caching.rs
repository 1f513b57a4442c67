//! Who may keep an answer.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::json;

use crate::toy::{Toy, token};

#[tokio::test]
async fn what_anybody_may_read_is_asked_for_again_and_what_needs_a_token_is_kept_nowhere() {
    let app =
        Toy::start_with(|http| http.cors_origins = vec!["https://a.example".parse().unwrap()])
            .await;
    let note = format!("/api/notes/{}", app.create().await);
    for (method, path, status, expected) in [
        (Method::GET, "/api/notes", 200, "no-cache"),
        (Method::GET, &note, 200, "no-cache"),
        (Method::HEAD, &note, 200, "no-cache"),
        (Method::GET, "/api/notes/nonsense", 404, "no-cache"),
        (Method::GET, "/api/notes?limit=x", 400, "no-cache"),
        (Method::GET, "/api/mine", 200, "private, no-store"),
        (Method::PUT, &note, 200, "private, no-store"),
        (Method::POST, "/api/notes", 201, "private, no-store"),
        (Method::DELETE, "/api/notes", 405, "no-store"),
        (Method::GET, "/nowhere", 404, "no-store"),
        (Method::GET, "/health/live", 200, "no-store"),
    ] {
        let request = app
            .request(method.clone(), path)
            .bearer_auth(token("alice"));
        let answer = request.json(&json!({ "text": "hi" })).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(
            answer.headers()["cache-control"],
            expected,
            "{method} {path}"
        );
    }
    for (method, path) in [(Method::GET, "/api/mine"), (Method::POST, "/api/notes")] {
        let stranger = app
            .request(method, path)
            .json(&json!({}))
            .send()
            .await
            .unwrap();
        assert_eq!(stranger.status(), 401);
        assert_eq!(stranger.headers()["cache-control"], "private, no-store");
    }
    let known = app.request(Method::GET, &note).header("if-none-match", "*");
    let known = known.send().await.unwrap();
    assert_eq!(known.status(), 304);
    assert_eq!(known.headers()["cache-control"], "no-cache");
    app.finish().await;
}

#[tokio::test]
async fn the_page_of_the_interface_is_compressed_and_sent_once_to_who_keeps_it() {
    let app = Toy::start().await;
    let ask = |method: Method, path: &str, name: &'static str, value: &str| {
        app.request(method, path).header(name, value).send()
    };
    for path in [
        "/docs/",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/docs/events",
        "/asyncapi.json",
        "/openapi.json",
    ] {
        let plain = app.get(path).await;
        assert!(!plain.headers().contains_key("content-encoding"), "{path}");
        assert_eq!(plain.headers()["cache-control"], "no-cache");
        assert_eq!(plain.headers()["vary"], "accept-encoding");
        let kind = plain.headers()["content-type"].clone();
        let tag = plain.headers()["etag"].to_str().unwrap().to_owned();
        let whole = plain.bytes().await.unwrap();
        for accepted in ["gzip, deflate, br, zstd", "br;q=1, GZIP;q=0.5"] {
            let gzip = ask(Method::GET, path, "accept-encoding", accepted)
                .await
                .unwrap();
            assert_eq!(gzip.headers()["content-encoding"], "gzip");
            assert_eq!(gzip.headers()["content-type"], kind);
            assert_eq!(gzip.headers()["etag"], tag.as_str());
            let mut unpacked = Vec::new();
            let packed = gzip.bytes().await.unwrap();
            GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == whole, "{path}");
            assert!(
                packed.len() < whole.len() / 2 || whole.len() < 3_000,
                "{path}"
            );
        }
        for refused in ["identity", "gzip;q=0", "x-gzip"] {
            let plain = ask(Method::GET, path, "accept-encoding", refused)
                .await
                .unwrap();
            assert!(
                !plain.headers().contains_key("content-encoding"),
                "{refused}"
            );
        }
        for method in [Method::GET, Method::HEAD] {
            let known = ask(method.clone(), path, "if-none-match", &tag)
                .await
                .unwrap();
            assert_eq!(known.status(), 304, "{path}");
            assert_eq!(known.headers()["etag"], tag.as_str());
            let other = ask(method, path, "if-none-match", "\"other\"")
                .await
                .unwrap();
            assert_eq!(other.status(), 200, "{path}");
        }
    }
    assert_eq!(app.get("/docs/nothing.js").await.status(), 404);
    app.finish().await;
}
