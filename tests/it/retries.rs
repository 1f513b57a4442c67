//! A write is sent again after whatever cut it off, with its `Idempotency-Key`: it is done once.

use std::{cell::Cell, time::Duration};

use bson::{Document, doc};
use mongodb::options::{CollectionOptions, ReadConcern};
use serde_json::json;
use testbed::{Mongo, at_the_next, eventually, is_held, nats_url, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::{Place, TestApp, token},
    process::command,
};

/// The process dies with its claim under way, with its commit under way, and when the commit is done and the answer is not.
#[tokio::test]
async fn a_service_that_is_killed_at_any_stage_does_the_retried_request_once() {
    let mut mongo = Mongo::absent();
    // How long the server keeps what a dead process wrote and did not commit; 60 s by default.
    let lifetime = ["--setParameter", "transactionLifetimeLimitSeconds=1"];
    mongo.args.extend(lifetime.map(Into::into));
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let client = testbed::client();
    let body = json!({ "title": "concert", "price": 1 });
    let send = async |address: &str, key: &str| {
        let request = client.post(format!("{address}/api/tickets"));
        let request = request
            .bearer_auth(token("alice"))
            .header("idempotency-key", key);
        request.json(&body).send().await
    };
    // As soon as it is committed, which is before a majority has it and the service answers.
    let local = CollectionOptions::builder().read_concern(ReadConcern::local());
    let database = place.database().await;
    let answers = database.collection_with_options::<Document>("answers", local.build());
    let tickets = place.database().await.collection::<Document>("tickets");
    let (mut process, mut address) = start(&mut command(&place)).await;
    let mut sent = 0;
    for stage in ["insert", "commitTransaction", "answer"] {
        let hold = doc! { "blockConnection": true, "blockTimeMS": 1000 };
        let kill = async {
            match stage {
                "answer" => {
                    eventually("it is saved", async || {
                        answers.count_documents(doc! {}).await.unwrap() == sent + 1
                    })
                    .await;
                }
                command => is_held(&place, command).await,
            }
            process.signal("-KILL");
        };
        if stage != "answer" {
            at_the_next(&place, stage, hold).await;
        }
        let (cut_off, ()) = tokio::join!(send(&address, stage), kill);
        drop(process);
        (process, address) = start(&mut command(&place)).await;
        let replayed = Cell::new(false);
        eventually("the retry is answered", async || {
            let answer = send(&address, stage).await.unwrap();
            // The claim of the dead process is held until the server gives its transaction up.
            assert!([201, 409].contains(&answer.status().as_u16()));
            replayed.set(answer.headers().contains_key("idempotent-replayed"));
            answer.status() == 201
        })
        .await;
        match stage {
            "insert" => assert!(cut_off.is_err() && !replayed.get()),
            // The server may do what it was told by a client that is gone.
            "commitTransaction" => assert!(cut_off.is_err()),
            _ => assert!(replayed.get()),
        }
        sent += 1;
        assert_eq!(tickets.count_documents(doc! {}).await.unwrap(), sent);
    }
    assert_eq!(place.events().await.len() as u64, sent);
    place.drained().await;
    assert_eq!(place.messages().await.len() as u64, sent);
    drop(process);
}

/// The request is cut after each of its parts, and while it waits for its answer; then it is sent again.
#[tokio::test]
async fn a_client_that_is_cut_off_at_any_stage_retries_without_a_second_ticket() {
    let app = TestApp::start().await;
    let body = json!({ "title": "concert", "price": 1 });
    let text = body.to_string();
    let address = app.address.strip_prefix("http://").unwrap();
    let (done_before, not_begun) = (Cell::new(0), Cell::new(0));
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
            let answer = app.post_with_key("alice", &key, body.clone()).await;
            let status = answer.status();
            assert!([201, 409].contains(&status.as_u16()), "{status}");
            if status == 201 {
                let replayed = answer.headers().contains_key("idempotent-replayed");
                let seen = if replayed { &done_before } else { &not_begun };
                seen.set(seen.get() + 1);
            }
            status == 201
        })
        .await;
    }
    // Else it was not cut in between.
    assert!(done_before.get() > 0 && not_begun.get() > 0);
    let tickets = app.place.database().await.collection::<Document>("tickets");
    assert_eq!(tickets.count_documents(doc! {}).await.unwrap(), 40);
    assert_eq!(app.place.events().await.len(), 40);
    app.finish().await;
}
