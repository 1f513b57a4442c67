//! `Idempotency-Key`: a write is done once, however often it is sent.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use testbed::{Mongo, assert_problem, at_the_next, eventually, fail, nats_url, text};

use crate::harness::{Place, TestApp, token};

pub(crate) async fn post(app: &TestApp, user: &str, key: &str, body: Value) -> Response {
    let request = app.request(Method::POST, "/api/tickets");
    let request = request
        .bearer_auth(token(user))
        .header("idempotency-key", key);
    request.json(&body).send().await.unwrap()
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_is_done_once() {
    let app = TestApp::start().await;
    let body = json!({ "title": "concert", "price": 20.5 });
    let first = post(&app, "alice", "\"a-key\"", body.clone()).await;
    assert_eq!(first.status(), 201);
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let again = post(&app, "alice", "a-key", body.clone()).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.headers()[name], first.headers()[name]);
    }
    let ticket: Value = first.json().await.unwrap();
    assert_eq!(again.json::<Value>().await.unwrap(), ticket);

    // The key is the user's own, and the body's.
    assert_eq!(post(&app, "bob", "a-key", body.clone()).await.status(), 201);
    let other = json!({ "title": "play", "price": 1 });
    assert_problem(post(&app, "alice", "a-key", other).await, 422).await;
    assert_problem(post(&app, "alice", "two words", body).await, 400).await;
    let id = text(&ticket["id"]);
    let put = || {
        let put = app.request(Method::PUT, &format!("/api/tickets/{id}"));
        let put = put
            .bearer_auth(token("alice"))
            .header("idempotency-key", "b-key")
            .header("if-match", "\"0\"");
        put.json(&json!({ "title": "opera", "price": 2 })).send()
    };
    let first = put().await.unwrap();
    assert_eq!(first.status(), 200);
    // Without the key it would be 412 now.
    let again = put().await.unwrap();
    assert_eq!(
        (again.status(), again.headers()["etag"].to_str().unwrap()),
        (first.status(), "\"1\"")
    );
    let tickets = app.place.database().await.collection::<Document>("tickets");
    assert_eq!(tickets.count_documents(doc! {}).await.unwrap(), 2);
    assert_eq!(app.place.events().await.len(), 3);
    app.finish().await;
}

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
async fn what_is_refused_is_not_remembered() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let put = |user: &str| {
        let put = app.request(Method::PUT, &format!("/api/tickets/{id}"));
        let put = put
            .bearer_auth(token(user))
            .header("idempotency-key", "key");
        put.json(&json!({ "title": "opera", "price": 2 })).send()
    };
    assert_problem(put("bob").await.unwrap(), 403).await;
    let answers = app.place.database().await.collection::<Document>("answers");
    assert_eq!(answers.count_documents(doc! {}).await.unwrap(), 0);
    assert_eq!(put("alice").await.unwrap().status(), 200);
    app.finish().await;
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day_of_the_servers_clock() {
    let app = TestApp::start().await;
    let answers = app.place.database().await.collection::<Document>("answers");
    let indexes: Vec<_> = answers
        .list_indexes()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let by_time = indexes
        .iter()
        .find(|index| index.keys == doc! { "createdAt": 1 });
    let expires = by_time.unwrap().options.as_ref().unwrap().expire_after;
    assert_eq!(expires, Some(Duration::from_secs(24 * 60 * 60)));

    let profiled = app.place.database().await;
    profiled.run_command(doc! { "profile": 2 }).await.unwrap();
    post(
        &app,
        "alice",
        "key",
        json!({ "title": "concert", "price": 1 }),
    )
    .await;
    profiled.run_command(doc! { "profile": 0 }).await.unwrap();
    let answer = answers.find_one(doc! {}).await.unwrap().unwrap();
    assert!(answer.get_datetime("createdAt").is_ok(), "{answer}");
    let by_the_servers_clock = doc! { "command.u.$currentDate.createdAt": true };
    let profiled = profiled.collection::<Document>("system.profile");
    assert_eq!(
        profiled
            .count_documents(by_the_servers_clock)
            .await
            .unwrap(),
        1
    );
    app.finish().await;
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_ticket() {
    let app = TestApp::start().await;
    let body = json!({ "title": "concert", "price": 1 });
    let sent = (0..16).map(|_| post(&app, "alice", "key", body.clone()));
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
    assert_eq!(post(&app, "alice", "key", body).await.status(), 201);
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_claim_that_the_database_refuses_is_not_taken_for_another_requests() {
    let (_mongo, app) = with_own_mongo().await;
    at_the_next(&app.place, "insert", doc! { "errorCode": 2 }).await;
    let body = json!({ "title": "concert", "price": 1 });
    for status in [500, 201] {
        let answer = post(&app, "alice", "key", body.clone()).await;
        assert_eq!(answer.status(), status);
    }
    app.finish().await;
}

/// A server of a test's own, because a fail point holds for all of a server; and the service there.
pub(crate) async fn with_own_mongo() -> (Mongo, TestApp) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let app = TestApp::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    (mongo, app)
}

/// Waits until such a command of a transaction is held at the server.
pub(crate) async fn is_held(place: &Place, command: &str) {
    let admin = place.database().await.client().database("admin");
    let held = [
        doc! { "$currentOp": { "allUsers": true, "idleSessions": true } },
        doc! { "$match": { format!("command.{command}"): { "$exists": true } } },
    ];
    eventually("a command is held", async || {
        let mut found = admin.aggregate(held.clone()).await.unwrap();
        found.advance().await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn the_same_key_is_409_while_the_first_request_is_running() {
    let (_mongo, app) = with_own_mongo().await;
    let id = app.create().await;
    let requests = [
        (Method::POST, "/api/tickets".to_owned(), 201),
        (Method::PUT, format!("/api/tickets/{id}"), 200),
    ];
    for (method, path, status) in requests {
        let hold = doc! { "blockConnection": true, "blockTimeMS": 3000 };
        at_the_next(&app.place, "commitTransaction", hold).await;
        let send = || {
            let request = app
                .request(method.clone(), &path)
                .bearer_auth(token("alice"));
            let request = request.header("idempotency-key", method.as_str());
            request.json(&json!({ "title": "play", "price": 1 })).send()
        };
        let second = async {
            is_held(&app.place, "commitTransaction").await;
            let second = send().await.unwrap();
            assert_eq!(second.headers()["retry-after"], "2");
            assert_problem(second, 409).await;
        };
        let (first, ()) = tokio::join!(send(), second);
        assert_eq!(first.unwrap().status(), status);
        let again = send().await.unwrap();
        assert_eq!(again.status(), status);
        assert_eq!(again.headers()["idempotent-replayed"], "true");
    }
    assert_eq!(app.place.events().await.len(), 3);
    app.finish().await;
}

#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_is_answered_by_the_retry_and_not_done_again() {
    let (_mongo, app) = with_own_mongo().await;
    // It is done, but the server can't say that a majority has it.
    let unknown = doc! { "writeConcernError": { "code": 50, "errmsg": "timed out" } };
    fail(&app.place, "alwaysOn", "commitTransaction", unknown).await;
    let body = json!({ "title": "concert", "price": 1 });
    let first = post(&app, "alice", "key", body.clone()).await;
    assert_problem(first, 503).await;
    fail(&app.place, "off", "commitTransaction", doc! {}).await;
    let again = post(&app, "alice", "key", body).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_commit_whose_connection_is_lost_is_done_once() {
    let (_mongo, app) = with_own_mongo().await;
    at_the_next(
        &app.place,
        "commitTransaction",
        doc! { "closeConnection": true },
    )
    .await;
    let body = json!({ "title": "concert", "price": 1 });
    // The driver asks again.
    let first = post(&app, "alice", "key", body.clone()).await;
    assert_eq!(first.status(), 201);
    let again = post(&app, "alice", "key", body).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}
