//! Health: what readiness says, and what it costs to ask.

use std::time::{Duration, Instant};

use bson::doc;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use service::{PING_INTERVAL, Timing};
use testbed::{Place, assert_problem, at_the_next};

use crate::toy::{Toy, hangs, own_mongo};

/// How often this server was pinged since it started; nobody but the service pings it.
async fn pings(toy: &Toy) -> u128 {
    let admin = toy.place.database().await.client().database("admin");
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
    let (_mongo, place) = own_mongo().await;
    let toy = Toy::of_counters(place, Timing::default()).await;
    let (before, began) = (pings(&toy).await, Instant::now());
    let answers = stream::iter(0..ASKED).map(|_| toy.get("/health/ready"));
    let answers: Vec<_> = answers.buffer_unordered(20).collect().await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let asked = pings(&toy).await - before;
    let most = began.elapsed().as_millis() / PING_INTERVAL.as_millis() + 1;
    assert!(asked <= most, "{asked} of at most {most}");
    toy.finish().await;
}

#[tokio::test]
async fn readiness_is_503_while_mongodb_takes_connections_and_answers_nothing() {
    let (_mongo, place) = own_mongo().await;
    let timing = Timing {
        // The ping that is held never ends.
        drain: Duration::from_secs(1),
        ..Timing::default()
    };
    let toy = Toy::of_counters(place, timing).await;
    at_the_next(&toy.place, "ping", hangs()).await;
    let unready = loop {
        // The answer to an earlier ping may count for a moment.
        let answer = toy.get("/health/ready").await;
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(unready.headers()["retry-after"], "2");
    assert_problem(unready, 503).await;
    toy.finish().await;
}

#[tokio::test]
async fn readiness_is_told_at_once_when_the_database_is_prepared() {
    let (_mongo, place) = own_mongo().await;
    let a_second = doc! { "blockConnection": true, "blockTimeMS": 1_000 };
    at_the_next(&place, "create", a_second).await;
    let toy = Toy::begin_with_counters(place, Timing::default()).await;
    let readiness = async || toy.get("/health/ready").await.status();
    assert_eq!(readiness().await, 503);
    // So that an answer of a moment ago could count when the database is prepared.
    let asked_on = async {
        loop {
            readiness().await;
        }
    };
    let created = tokio::select! {
        created = toy.post() => created,
        () = asked_on => unreachable!("it is asked on and on"),
    };
    assert_eq!(created.status(), 201);
    assert_eq!(readiness().await, 200);
    toy.finish().await;
}

#[tokio::test]
async fn health_tells_of_both_servers() {
    let toy = Toy::of_counters(Place::shared(), Timing::default()).await;
    assert_eq!(toy.get("/health/live").await.status(), 200);
    let ready: Value = toy.get("/health/ready").await.json().await.unwrap();
    assert_eq!(ready["mongodb"], "up");
    assert!(ready["nats"].is_string());
    toy.finish().await;
}
