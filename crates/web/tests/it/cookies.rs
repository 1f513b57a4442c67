//! The session cookie among others: which of them counts, however they are written.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, header::HeaderValue};
use serde_json::{Value, json};

use crate::toy::{Toy, token};

fn session(user: &str) -> String {
    STANDARD.encode(json!({ "jwt": token(user) }).to_string())
}

/// Who is calling, as the service sees it; `None` where nobody is.
async fn caller(app: &Toy, lines: &[&[u8]]) -> Option<String> {
    let mut post = app.request(Method::POST, "/api/notes");
    for line in lines {
        post = post.header("cookie", HeaderValue::from_bytes(line).unwrap());
    }
    let answer = post
        .json(&json!({ "text": "concert" }))
        .send()
        .await
        .unwrap();
    let is_known = answer.status() == 201;
    assert!(is_known || answer.status() == 401, "{}", answer.status());
    let note: Value = answer.json().await.unwrap();
    is_known.then(|| note["userId"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_other_cookies_hold_is_nobodys_business() {
    let app = Toy::start().await;
    let alice = session("alice");
    for others in [
        "name=José; ",
        "name=\"a; b\"; ",
        "; =; ;; name; ",
        "name=%FF; ",
        "expresssess=x; xexpress:sess=x; ",
    ] {
        let line = format!("{others}express:sess={alice}");
        assert_eq!(
            caller(&app, &[line.as_bytes()]).await.as_deref(),
            Some("alice"),
            "{line}"
        );
    }
    let latin = [&b"name=Jos\xe9; express:sess="[..], alice.as_bytes()].concat();
    assert_eq!(caller(&app, &[&latin]).await.as_deref(), Some("alice"));
    // As HTTP/2 splits them (RFC 9113 §8.2.3).
    let ours = format!("express:sess={alice}");
    assert_eq!(
        caller(&app, &[b"name=Jos\xe9", ours.as_bytes()])
            .await
            .as_deref(),
        Some("alice")
    );
    app.finish().await;
}

#[tokio::test]
async fn of_two_session_cookies_the_first_counts_and_quotes_are_no_part_of_it() {
    let app = Toy::start().await;
    let [alice, bob] = ["alice", "bob"].map(session);
    let one_line = format!("express:sess={alice}; express:sess={bob}");
    assert_eq!(
        caller(&app, &[one_line.as_bytes()]).await.as_deref(),
        Some("alice")
    );
    let lines = [&alice, &bob].map(|it| format!("express:sess={it}"));
    let lines = lines.each_ref().map(|it| it.as_bytes());
    assert_eq!(caller(&app, &lines).await.as_deref(), Some("alice"));
    let unreadable = format!("express:sess=nonsense; express:sess={bob}");
    assert_eq!(caller(&app, &[unreadable.as_bytes()]).await, None);
    let quoted = format!("express:sess=\"{alice}\"");
    assert_eq!(
        caller(&app, &[quoted.as_bytes()]).await.as_deref(),
        Some("alice")
    );
    app.finish().await;
}
