//! Requests that are sent again, and those that depend on a version.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use testbed::{assert_problem, text};

use crate::{harness::App, published::Ticket};

async fn order_with_key(app: &App, key: &str, ticket: &Ticket) -> Response {
    let request = app.request(Method::POST, "/api/orders", "alice");
    let request = request.header("idempotency-key", key);
    let body = json!({ "ticketId": ticket.id });
    request.json(&body).send().await.unwrap()
}

#[tokio::test]
async fn an_order_that_is_sent_again_with_its_key_is_made_once() {
    let app = App::start().await;
    let (ticket, other) = (app.ticket().await, app.ticket().await);
    let first = order_with_key(&app, "a", &ticket).await;
    assert_eq!(first.status(), 201);
    let first: Value = first.json().await.unwrap();
    let again = order_with_key(&app, "a", &ticket).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    assert_problem(order_with_key(&app, "a", &other).await, 422).await;
    // What is refused is not remembered.
    assert_problem(order_with_key(&app, "b", &ticket).await, 409).await;
    assert_eq!(app.cancel("alice", &text(&first["id"])).await.status(), 200);
    assert_eq!(order_with_key(&app, "b", &ticket).await.status(), 201);
    assert_eq!(app.count("orders").await, 2);
    app.finish().await;
}

#[tokio::test]
async fn a_cancellation_that_is_sent_again_with_its_key_has_the_first_answer() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let id = app.ordered("alice", &ticket).await;
    let cancel = async || {
        let request = app.request(Method::DELETE, &format!("/api/orders/{id}"), "alice");
        // Only the order that is not cancelled yet.
        let request = request.header("if-match", "\"0\"");
        request.header("idempotency-key", "c").send().await.unwrap()
    };
    let first = cancel().await;
    assert_eq!(first.status(), 200);
    let again = cancel().await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.status(), 200);
    assert_eq!(app.place.events().await.len(), 2);
    app.finish().await;
}

#[tokio::test]
async fn a_read_is_304_of_a_version_that_is_known_and_a_cancellation_412_of_another() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let id = app.ordered("alice", &ticket).await;
    let ask = async |method: Method, name: &str, value: &str| {
        let request = app.request(method, &format!("/api/orders/{id}"), "alice");
        request.header(name, value).send().await.unwrap()
    };
    let known = ask(Method::GET, "if-none-match", "\"0\"").await;
    assert_eq!(known.status(), 304);
    assert_eq!(known.headers()["etag"], "\"0\"");
    assert_eq!(
        ask(Method::GET, "if-none-match", "\"1\"").await.status(),
        200
    );
    assert_problem(ask(Method::DELETE, "if-match", "\"1\"").await, 412).await;
    assert_problem(ask(Method::DELETE, "if-match", "no version").await, 400).await;
    assert_eq!(ask(Method::DELETE, "if-match", "\"0\"").await.status(), 200);
    assert_problem(ask(Method::DELETE, "if-match", "\"0\"").await, 412).await;
    assert_eq!(
        ask(Method::GET, "if-none-match", "\"0\"").await.status(),
        200
    );
    app.finish().await;
}
