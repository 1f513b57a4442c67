//! `Idempotency-Key`: a write is done once, however often it is sent.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use testbed::{Mongo, Place, assert_problem, at_the_next, fail, is_held, nats_url, text};

use crate::toy::{Toy, token};

async fn post(app: &Toy, user: &str, key: &str, body: Value) -> Response {
    let request = app.request(Method::POST, "/api/notes");
    let request = request
        .bearer_auth(token(user))
        .header("idempotency-key", key);
    request.json(&body).send().await.unwrap()
}

/// How many notes there are, and how often one was changed.
async fn written(app: &Toy) -> (usize, i64) {
    let notes = app.place.database().await.collection::<Document>("notes");
    let notes: Vec<_> = notes
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let changes = notes.iter().map(|note| note.get_i64("version").unwrap());
    (notes.len(), changes.sum())
}

/// A server of a test's own, because a fail point holds for all of a server; and the service there.
async fn with_own_mongo() -> (Mongo, Toy) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    (mongo, Toy::start_at(place, |_| {}).await)
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_is_done_once() {
    let app = Toy::start().await;
    let body = json!({ "text": "hello" });
    let first = post(&app, "alice", "\"a-key\"", body.clone()).await;
    assert_eq!(first.status(), 201);
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let again = post(&app, "alice", "a-key", body.clone()).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.headers()[name], first.headers()[name]);
    }
    let note: Value = first.json().await.unwrap();
    assert_eq!(again.json::<Value>().await.unwrap(), note);

    // The key is the user's own, and the body's.
    assert_eq!(post(&app, "bob", "a-key", body.clone()).await.status(), 201);
    let other = json!({ "text": "other" });
    assert_problem(post(&app, "alice", "a-key", other).await, 422).await;
    assert_problem(post(&app, "alice", "two words", body).await, 400).await;
    let id = text(&note["id"]);
    let put = || {
        let put = app.request(Method::PUT, &format!("/api/notes/{id}"));
        let put = put
            .bearer_auth(token("alice"))
            .header("idempotency-key", "b-key")
            .header("if-match", "\"0\"");
        put.json(&json!({ "text": "changed" })).send()
    };
    let first = put().await.unwrap();
    assert_eq!(first.status(), 200);
    // Without the key it would be 412 now.
    let again = put().await.unwrap();
    assert_eq!(
        (again.status(), again.headers()["etag"].to_str().unwrap()),
        (first.status(), "\"1\"")
    );
    assert_eq!(written(&app).await, (2, 1));
    app.finish().await;
}

#[tokio::test]
async fn what_is_refused_is_not_remembered() {
    let app = Toy::start().await;
    let id = app.create().await;
    let put = |user: &str| {
        let put = app.request(Method::PUT, &format!("/api/notes/{id}"));
        let put = put
            .bearer_auth(token(user))
            .header("idempotency-key", "key");
        put.json(&json!({ "text": "changed" })).send()
    };
    assert_problem(put("bob").await.unwrap(), 403).await;
    let answers = app.place.database().await.collection::<Document>("answers");
    assert_eq!(answers.count_documents(doc! {}).await.unwrap(), 0);
    assert_eq!(put("alice").await.unwrap().status(), 200);
    app.finish().await;
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day_of_the_servers_clock() {
    let app = Toy::start().await;
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
    post(&app, "alice", "key", json!({ "text": "hello" })).await;
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
async fn a_claim_that_the_database_refuses_is_not_taken_for_another_requests() {
    let (_mongo, app) = with_own_mongo().await;
    at_the_next(&app.place, "insert", doc! { "errorCode": 2 }).await;
    let body = json!({ "text": "hello" });
    for status in [500, 201] {
        let answer = post(&app, "alice", "key", body.clone()).await;
        assert_eq!(answer.status(), status);
    }
    app.finish().await;
}

#[tokio::test]
async fn the_same_key_is_409_while_the_first_request_is_running() {
    let (_mongo, app) = with_own_mongo().await;
    let id = app.create().await;
    let requests = [
        (Method::POST, "/api/notes".to_owned(), 201),
        (Method::PUT, format!("/api/notes/{id}"), 200),
    ];
    for (method, path, status) in requests {
        let hold = doc! { "blockConnection": true, "blockTimeMS": 3000 };
        at_the_next(&app.place, "commitTransaction", hold).await;
        let send = || {
            let request = app
                .request(method.clone(), &path)
                .bearer_auth(token("alice"));
            let request = request.header("idempotency-key", method.as_str());
            request.json(&json!({ "text": "other" })).send()
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
    assert_eq!(written(&app).await, (2, 1));
    app.finish().await;
}

#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_is_answered_by_the_retry_and_not_done_again() {
    let (_mongo, app) = with_own_mongo().await;
    // It is done, but the server can't say that a majority has it.
    let unknown = doc! { "writeConcernError": { "code": 50, "errmsg": "timed out" } };
    fail(&app.place, "alwaysOn", "commitTransaction", unknown).await;
    let body = json!({ "text": "hello" });
    let first = post(&app, "alice", "key", body.clone()).await;
    assert_problem(first, 503).await;
    fail(&app.place, "off", "commitTransaction", doc! {}).await;
    let again = post(&app, "alice", "key", body).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(written(&app).await, (1, 0));
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
    let body = json!({ "text": "hello" });
    // The driver asks again.
    let first = post(&app, "alice", "key", body.clone()).await;
    assert_eq!(first.status(), 201);
    let again = post(&app, "alice", "key", body).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(written(&app).await, (1, 0));
    app.finish().await;
}
