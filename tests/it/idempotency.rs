//! `Idempotency-Key`: a write is done once, however often it is sent.

use std::time::Duration;

use bson::{Document, doc};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::{Place, TestApp, assert_problem, eventually, nats_url, text, token},
    servers::Mongo,
};

async fn post(app: &TestApp, user: &str, key: &str, body: Value) -> Response {
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
async fn an_answer_is_kept_for_a_day() {
    let app = TestApp::start().await;
    let answers = app.place.database().await.collection::<Document>("answers");
    let indexes = answers.list_index_names().await.unwrap();
    assert!(indexes.contains(&"createdAt_1".to_owned()));
    let command = doc! { "listIndexes": "answers" };
    let listed = app
        .place
        .database()
        .await
        .run_command(command)
        .await
        .unwrap();
    assert!(
        listed.to_string().contains("\"expireAfterSeconds\": 86400"),
        "{listed}"
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
async fn the_same_key_is_409_while_the_first_request_is_running() {
    // A server of its own: a fail point holds for all of a server.
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let app = TestApp::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    let admin = app.place.database().await.client().database("admin");
    let hold = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": { "failCommands": ["commitTransaction"], "appName": &app.place.name, "blockConnection": true, "blockTimeMS": 3000 },
    };
    admin.run_command(hold).await.unwrap();
    let body = json!({ "title": "concert", "price": 1 });
    let first = post(&app, "alice", "key", body.clone());
    let second = async {
        let held = doc! { "$currentOp": { "allUsers": true, "idleSessions": true } };
        eventually("the first is at its commit", async || {
            let mut found = admin
                .aggregate([
                    held.clone(),
                    doc! { "$match": { "command.commitTransaction": 1 } },
                ])
                .await
                .unwrap();
            found.advance().await.unwrap()
        })
        .await;
        post(&app, "alice", "key", body.clone()).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_problem(second, 409).await;
    assert_eq!(first.status(), 201);
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

/// The request is cut after each of its parts, and while it waits for its answer; then it is sent again.
#[tokio::test]
async fn a_client_that_is_cut_off_at_any_stage_retries_without_a_second_ticket() {
    let app = TestApp::start().await;
    let body = json!({ "title": "concert", "price": 1 });
    let text = body.to_string();
    let address = app.address.strip_prefix("http://").unwrap();
    for cut in 0..40_usize {
        let key = format!("key-{cut}");
        let request = format!(
            "POST /api/tickets HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
            token("alice"),
            text.len(),
        );
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        // From a part of the head, over a part of the body, to the whole and then some of the time that it takes.
        let sent = match cut {
            0..10 => request.len() * cut / 10,
            10..20 => request.len() - text.len() * (19 - cut) / 10,
            _ => request.len(),
        };
        connection
            .write_all(&request.as_bytes()[..sent])
            .await
            .unwrap();
        if cut >= 20 {
            let wait = Duration::from_micros(250 * (cut as u64 - 20));
            let mut byte = [0];
            drop(tokio::time::timeout(wait, connection.read(&mut byte)).await);
        }
        drop(connection);
        eventually("the retry is answered", async || {
            let status = post(&app, "alice", &key, body.clone()).await.status();
            assert!([201, 409].contains(&status.as_u16()), "{status}");
            status == 201
        })
        .await;
    }
    let tickets = app.place.database().await.collection::<Document>("tickets");
    assert_eq!(tickets.count_documents(doc! {}).await.unwrap(), 40);
    assert_eq!(app.place.events().await.len(), 40);
    app.finish().await;
}
