//! Who may keep an answer.

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
