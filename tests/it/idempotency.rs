//! `Idempotency-Key`: a ticket and its event are made once. What holds for every write is tried in `crates/web/tests`.

use reqwest::Method;
use serde_json::json;
use testbed::assert_problem;

use crate::harness::{TestApp, token};

#[tokio::test]
async fn a_key_that_comes_again_with_the_same_body_for_another_ticket_is_422_and_does_nothing() {
    let app = TestApp::start().await;
    let tickets = [app.create().await, app.create().await];
    let put = |id: &str| {
        let put = app.request(Method::PUT, &format!("/api/tickets/{id}"));
        let put = put
            .bearer_auth(token("alice"))
            .header("idempotency-key", "key");
        put.json(&json!({ "title": "opera", "price": 2 })).send()
    };
    assert_eq!(put(&tickets[0]).await.unwrap().status(), 200);
    assert_problem(put(&tickets[1]).await.unwrap(), 422).await;
    assert_eq!(app.place.events().await.len(), 3);
    app.finish().await;
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_ticket() {
    let app = TestApp::start().await;
    let body = json!({ "title": "concert", "price": 1 });
    let sent = (0..16).map(|_| app.post_with_key("alice", "key", body.clone()));
    let answers = futures_util::future::join_all(sent).await;
    let statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    assert!(statuses.contains(&201));
    assert!(
        statuses.iter().all(|status| [201, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(app.post_with_key("alice", "key", body).await.status(), 201);
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}
