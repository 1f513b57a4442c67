//! Servers that are away: at the start, in the middle, and while a transaction commits.

use std::{collections::BTreeSet, time::Duration};

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{
    Mongo, Nats, assert_problem, at_the_next, eventually, has_entered, mongo_uri, nats_url, text,
};
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
async fn without_mongodb_requests_are_503_and_the_service_recovers_by_itself() {
    let mut mongo = Mongo::absent();
    let app = TestApp::begin_at(Place::at(&mongo.uri(), &nats_url())).await; // MongoDB was never there
    let unready = app.get("/health/ready").await;
    assert_eq!(unready.status(), 503);
    let told: Value = unready.json().await.unwrap();
    let why = format!(
        "MongoDB is down: {}: Connection refused (os error 111)",
        mongo.hosts[0]
    );
    assert_eq!(told["errors"], json!([{ "message": why }]));
    assert_eq!(app.get("/health/live").await.status(), 200);
    let refused = app
        .post("alice", json!({ "title": "concert", "price": 1 }))
        .await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    mongo.start().await;
    eventually("ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
    app.create().await;
    app.place.drained().await;

    mongo.kill();
    let refused = app
        .post("alice", json!({ "title": "concert", "price": 1 }))
        .await;
    assert_eq!(refused.status(), 503);
    mongo.start().await;
    eventually("writes are taken again", async || {
        app.post("alice", json!({ "title": "concert", "price": 1 }))
            .await
            .status()
            == 201
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_is_503_and_not_a_claim() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    // It is the outcome that answers, not the time-out.
    place.timing.http.work = Duration::from_secs(3600);
    let app = TestApp::start_at(place).await;
    let admin = app.place.database().await.client().database("admin");
    // The commit is done, but the server can't say that a majority has it.
    let fail = doc! {
        "configureFailPoint": "failCommand", "mode": "alwaysOn",
        "data": {
            "failCommands": ["commitTransaction"], "appName": &app.place.name,
            "writeConcernError": { "code": 50, "errmsg": "waiting for replication timed out" },
        },
    };
    admin.run_command(fail).await.unwrap();
    let unknown = app
        .post("alice", json!({ "title": "concert", "price": 1 }))
        .await;
    admin
        .run_command(doc! { "configureFailPoint": "failCommand", "mode": "off" })
        .await
        .unwrap();
    assert_eq!(unknown.status(), 503);
    assert!(unknown.headers().contains_key("retry-after"));
    let told = unknown.text().await.unwrap();
    assert!(
        told.contains(
            "the database could not answer in time; if this was a write, it is not known whether it was saved"
        )
    );
    assert_eq!(app.place.events().await.len(), 1);
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

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_its_transaction() {
    // A server of its own: a fail point holds for all of a server.
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let app = TestApp::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    let admin = app.place.database().await.client().database("admin");
    let block = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": {
            "failCommands": ["insert"], "appName": &app.place.name,
            "blockConnection": true, "blockTimeMS": 500,
        },
    };
    admin.run_command(block).await.unwrap();
    let body = json!({ "title": "concert", "price": 1 }).to_string();
    let request = format!(
        "POST /api/tickets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        token("alice"),
        body.len()
    );
    let address = app.address.trim_start_matches("http://");
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let entered =
        doc! { "waitForFailPoint": "failCommand", "timesEntered": 1, "maxTimeMS": 10_000 };
    admin.run_command(entered).await.unwrap();
    drop(connection);
    eventually("ticket and event are saved", async || {
        app.get("/api/tickets")
            .await
            .json::<Vec<Value>>()
            .await
            .unwrap()
            .len()
            == 1
            && app.place.events().await.len() == 1
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_commit_whose_session_an_operator_kills_is_503() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let app = TestApp::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    let admin = app.place.database().await.client().database("admin");
    let hold = doc! { "blockConnection": true, "blockTimeMS": 1_000 };
    at_the_next(&app.place, "commitTransaction", hold).await;
    let kill = async {
        has_entered(&app.place, 1).await;
        let all = doc! { "killAllSessions": [] };
        admin.run_command(all).await.unwrap();
    };
    let ticket = json!({ "title": "concert", "price": 1 });
    let (killed, ()) = tokio::join!(app.post("alice", ticket), kill);
    assert_problem(killed, 503).await;
    app.create().await;
    app.finish().await;
}
