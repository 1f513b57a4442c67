//! Conditional requests: `If-Match` and `If-None-Match`, however they are written (RFC 9110 §13).

use reqwest::{
    Method, Response,
    header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH},
};
use serde_json::json;
use testbed::assert_problem;

use crate::toy::{Toy, token};

/// No entity tags, nor lists of them. (`"9, 0"` has a blank inside its quotes, as the others have.)
const UNREADABLE: [&str; 9] = [
    "",
    "0",
    "\"a b\"",
    "\"0 \"",
    "W/\"a b\"",
    "\"9, 0\"",
    "\"a\tb\"",
    "\"0\", \"a b\"",
    "*, \"0\"",
];

/// With so many lines of the header.
async fn send(app: &Toy, method: Method, path: &str, name: HeaderName, lines: &[&str]) -> Response {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(&name, HeaderValue::from_str(line).unwrap());
    }
    let request = app.request(method, path).headers(headers);
    let request = request.bearer_auth(token("alice"));
    request.json(&json!({ "text": "hi" })).send().await.unwrap()
}

#[tokio::test]
async fn a_precondition_that_cannot_be_read_is_passed_over_by_a_read_and_refused_by_a_change() {
    let app = Toy::start().await;
    let path = format!("/api/notes/{}", app.create().await);
    for unreadable in UNREADABLE {
        for name in [IF_MATCH, IF_NONE_MATCH] {
            for method in [Method::GET, Method::HEAD] {
                let read = app.request(method, &path).header(&name, unreadable).send();
                assert_eq!(read.await.unwrap().status(), 200, "{name}: {unreadable}");
            }
            let change = send(&app, Method::PUT, &path, name.clone(), &[unreadable]).await;
            let problem = assert_problem(change, 400).await;
            let message = problem["errors"][0]["message"].as_str().unwrap();
            assert!(message.starts_with(name.as_str()), "{message}");
        }
    }
    assert_eq!(app.get(&path).await.headers()["etag"], "\"0\"");
    app.finish().await;
}

#[tokio::test]
async fn a_change_is_done_only_of_a_version_that_if_match_names_and_if_none_match_does_not() {
    let app = Toy::start().await;
    let path = format!("/api/notes/{}", app.create().await);
    let mut version = 0;
    for (name, lines, is_done) in [
        (IF_NONE_MATCH, &["*"][..], false),
        (IF_NONE_MATCH, &["\"CURRENT\""], false),
        (IF_NONE_MATCH, &["W/\"CURRENT\""], false),
        (IF_NONE_MATCH, &["\"x\"", "\"CURRENT\""], false),
        (IF_NONE_MATCH, &["\"x\", \"y\""], true),
        (IF_MATCH, &["*"], true),
        (IF_MATCH, &["\"CURRENT\""], true),
        (IF_MATCH, &["\"x\"", "\"CURRENT\""], true),
        (IF_MATCH, &["\"x\", \"CURRENT\""], true),
        (IF_MATCH, &["W/\"CURRENT\""], false),
        (IF_MATCH, &["\"x\"", "\"y\""], false),
    ] {
        let current = version.to_string();
        let lines: Vec<String> = lines
            .iter()
            .map(|it| it.replace("CURRENT", &current))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let change = send(&app, Method::PUT, &path, name.clone(), &lines).await;
        if is_done {
            assert_eq!(change.status(), 200, "{name}: {lines:?}");
            version += 1;
        } else {
            assert_problem(change, 412).await;
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn a_read_is_304_of_a_version_that_is_known_and_412_where_another_is_asked_for() {
    let app = Toy::start().await;
    let path = format!("/api/notes/{}", app.create().await);
    for (name, lines, status) in [
        (IF_NONE_MATCH, &["*"][..], 304),
        (IF_NONE_MATCH, &["\"7\"", "W/\"0\""], 304),
        (IF_NONE_MATCH, &["\"7\""], 200),
        (IF_MATCH, &["*"], 200),
        (IF_MATCH, &["\"7\", \"0\""], 200),
        (IF_MATCH, &["\"7\""], 412),
        (IF_MATCH, &["W/\"0\""], 412),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let read = send(&app, method, &path, name.clone(), lines).await;
            assert_eq!(read.status(), status, "{name}: {lines:?}");
        }
    }
    app.finish().await;
}
