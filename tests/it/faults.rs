//! NATS is away, and clients hang up: a ticket and its event are saved together, and published in the end.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Nats, eventually, mongo_uri, text};
use tokio::io::AsyncWriteExt;

use crate::harness::{Place, TestApp, token};

#[tokio::test]
async fn what_is_written_while_nats_is_down_is_published_in_order_when_it_is_back() {
    let mut nats = Nats::absent();
    let app = TestApp::start_at(Place::at(&mongo_uri(), &nats.url())).await; // NATS was never there
    let id = app.create().await;
    app.put("alice", &id, json!({ "title": "play", "price": 1 }))
        .await;
    let ready: Value = app.get("/health/ready").await.json().await.unwrap();
    assert_eq!(
        (&ready["status"], &ready["nats"]),
        (&json!("ok"), &json!("down"))
    );
    assert!(
        app.place
            .events()
            .await
            .iter()
            .all(|event| event.get_str("sent").unwrap() == "NO")
    );
    nats.start().await;
    app.place.drained().await;
    let ready: Value = app.get("/health/ready").await.json().await.unwrap();
    assert_eq!(ready["nats"], "up");

    nats.kill();
    app.put("alice", &id, json!({ "title": "play", "price": 2 }))
        .await;
    let unsent = app.create().await;
    assert!(
        app.place
            .events()
            .await
            .iter()
            .any(|event| event.get_str("key").unwrap() == unsent
                && event.get_str("sent").unwrap() == "NO")
    );
    nats.start().await;
    app.place.drained().await;
    let versions: Vec<Value> = app
        .place
        .messages()
        .await
        .iter()
        .map(|message| serde_json::from_slice::<Value>(&message.payload).unwrap())
        .filter(|payload| payload["id"] == json!(id))
        .map(|payload| payload["version"].clone())
        .collect();
    assert_eq!(versions, [json!(0), json!(1), json!(2)]);
    app.finish().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_both_or_neither() {
    let app = TestApp::start().await;
    let body = json!({ "title": "concert", "price": 1 }).to_string();
    let head = format!(
        "POST /api/tickets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        token("alice"),
        body.len()
    );
    for cut in 0..20 {
        let mut connection =
            tokio::net::TcpStream::connect(app.address.trim_start_matches("http://"))
                .await
                .unwrap();
        let whole = format!("{head}{body}");
        connection
            .write_all(&whole.as_bytes()[..whole.len() - (cut % 2)])
            .await
            .unwrap();
        drop(connection);
    }
    let id = app.create().await;
    // Those that were whole may still be on their way; a half one would stay one.
    eventually("tickets and events are of the same ids", async || {
        let listed = app
            .request(Method::GET, "/api/tickets?limit=200")
            .send()
            .await
            .unwrap();
        let listed = listed.json::<Vec<Value>>().await.unwrap();
        let tickets: BTreeSet<_> = listed.iter().map(|ticket| text(&ticket["id"])).collect();
        let events = app.place.events().await;
        let events: BTreeSet<_> = events
            .iter()
            .map(|event| event.get_str("key").unwrap().to_owned())
            .collect();
        tickets.contains(&id) && tickets == events
    })
    .await;
    app.finish().await;
}
