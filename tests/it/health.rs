//! Health: what readiness says, and what it costs to ask.

use std::time::{Duration, Instant};

use bson::doc;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use service::PING_INTERVAL;
use testbed::{Mongo, assert_problem, nats_url};

use crate::{
    harness::{Place, TestApp},
    idempotency::{at_the_next, with_own_mongo},
};

/// How often this server was pinged since it started; nobody but the service pings it.
async fn pings(app: &TestApp) -> u128 {
    let admin = app.place.database().await.client().database("admin");
    let status = admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
    let commands = status.get_document("metrics").unwrap();
    let commands = commands.get_document("commands").unwrap();
    let ping = commands.get_document("ping").unwrap();
    u128::try_from(ping.get_i64("total").unwrap()).unwrap()
}

#[tokio::test]
async fn however_often_readiness_is_asked_for_mongodb_is_asked_four_times_a_second_at_most() {
    const ASKED: usize = 300;
    assert_eq!(PING_INTERVAL.as_millis(), 1_000 / 4);
    let (_mongo, app) = with_own_mongo().await;
    let (before, began) = (pings(&app).await, Instant::now());
    let answers = stream::iter(0..ASKED).map(|_| app.get("/health/ready"));
    let answers: Vec<_> = answers.buffer_unordered(20).collect().await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let asked = pings(&app).await - before;
    let most = began.elapsed().as_millis() / PING_INTERVAL.as_millis() + 1;
    assert!(asked <= most, "{asked} of at most {most}");
    app.finish().await;
}

#[tokio::test]
async fn readiness_is_503_while_mongodb_takes_connections_and_answers_nothing() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    // The ping that is held never ends.
    place.timing.drain = Duration::from_secs(1);
    let app = TestApp::start_at(place).await;
    let silence = doc! { "blockConnection": true, "blockTimeMS": 60_000 };
    at_the_next(&app.place, "ping", silence).await;
    let unready = loop {
        // The answer to an earlier ping may count for a moment.
        let answer = app.get("/health/ready").await;
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(unready.headers()["retry-after"], "2");
    assert_problem(unready, 503).await;
    app.finish().await;
}

#[tokio::test]
async fn health_tells_of_both_servers() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/health/live").await.status(), 200);
    let ready: Value = app.get("/health/ready").await.json().await.unwrap();
    assert_eq!(ready["mongodb"], "up");
    assert!(ready["nats"].is_string());
    app.finish().await;
}
