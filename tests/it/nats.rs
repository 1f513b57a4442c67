//! The connection to NATS: who we are, what the log tells of it, and how little is asked over it.

use bson::{Document, doc};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use testbed::{Nats, Process, eventually, mongo_uri};
use tokio::net::TcpListener;

use crate::{
    harness::{Place, TestApp},
    operators::stream,
    process::command,
};

#[tokio::test]
async fn a_user_with_password_or_a_token_is_taken_from_the_address() {
    for (args, login) in [
        (
            &["--user", "alice", "--pass", "s3cret"][..],
            "alice:s3cret@",
        ),
        (&["--auth", "a-token"], "a-token@"),
    ] {
        let mut nats = Nats::absent();
        nats.args = args.iter().map(Into::into).collect();
        nats.start().await;
        let url = nats.url().replace("://", &format!("://{login}"));
        let app = TestApp::start_at(Place::at(&mongo_uri(), &url)).await;
        app.create().await;
        app.place.drained().await;
        let place = app.stop().await;
        place.database().await.drop().await.unwrap();
    }
}

/// What a service says of its connection to NATS, line by line.
fn told_of_nats(service: &Process) -> Vec<String> {
    let log = service.log();
    let lines = log.lines().filter(|line| line.contains("to NATS"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn each_outage_of_nats_is_told_once_and_so_is_its_end() {
    let mut nats = Nats::absent();
    let place = Place::at(&mongo_uri(), &nats.url());
    // Something else listens there: each attempt to connect fails, and is counted.
    let address = nats.url().replace("nats://", "");
    let other = TcpListener::bind(&address).await.unwrap();
    let mut service = Process::logged(&mut command(&place));
    for _ in 0..4 {
        drop(other.accept().await.unwrap());
    }
    drop(other);
    nats.start().await;
    let told = async |lines: usize| {
        eventually("it is told", async || told_of_nats(&service).len() >= lines).await;
    };
    told(2).await;
    nats.kill();
    told(4).await;
    nats.start().await;
    told(5).await;
    service.signal("-TERM");
    assert!(service.ended().await.success());
    let lines = told_of_nats(&service);
    let expected = [
        "cannot connect to NATS; events wait",
        "connected to NATS",
        "not connected to NATS; events wait",
        "cannot connect to NATS; events wait",
        "connected to NATS",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{lines:#?}");
    }
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_asked_of_the_stream_before_an_ordinary_publication() {
    let app = TestApp::start().await;
    app.create().await;
    app.place.drained().await;
    let client = async_nats::connect(&app.place.nats_url).await.unwrap();
    let asked = format!("$JS.API.STREAM.*.GET.{}", app.place.name);
    let mut asked = client.subscribe(asked).await.unwrap();
    client.flush().await.unwrap();
    let id = app.create().await;
    for price in 1..=4 {
        app.put("alice", &id, json!({ "title": "play", "price": price }))
            .await;
        app.place.drained().await;
    }
    client.flush().await.unwrap();
    let first = asked.next().now_or_never();
    assert!(first.is_none(), "{first:?}");
    // What a question looks like.
    app.place.messages().await;
    assert!(asked.next().await.is_some());
    app.finish().await;
}

#[tokio::test]
async fn what_the_stream_took_is_not_published_again_though_a_consumer_removed_it() {
    let app = TestApp::start().await;
    app.create().await;
    app.place.drained().await;
    let place = app.stop().await;
    stream(&place).await.purge().await.unwrap();
    // As if it had crashed before it marked the event.
    let events = place.database().await.collection::<Document>("events");
    let unmarked = doc! { "$set": { "sent": "NO" }, "$unset": { "sentAt": "" } };
    events.update_one(doc! {}, unmarked).await.unwrap();
    let app = TestApp::start_at(place).await;
    app.place.drained().await;
    assert!(app.place.messages().await.is_empty());
    app.finish().await;
}
