//! What the service gives up after a while. The times are short here, so that nothing else comes first.

use std::time::{Duration, Instant};

use bson::doc;
use futures_util::future::join_all;
use service::Timing;
use testbed::{Place, assert_problem, at_the_next, client, fail, log::Log, nats_url};

use crate::toy::{COUNTERS, NEVER, Toy, hangs, own_mongo};

#[tokio::test]
async fn a_request_whose_database_does_not_answer_is_503_before_its_client_gives_up() {
    let (_mongo, place) = own_mongo().await;
    let mut timing = Timing::default();
    timing.db.read_limit = Duration::from_millis(300);
    // It is this limit that answers, not the request's.
    timing.http.work = NEVER;
    // The read that is held never ends.
    timing.drain = Duration::from_secs(1);
    let toy = Toy::of_counters(place, timing).await;
    let id = toy.create().await;
    toy.place.drained().await;
    // Of this collection alone: the server itself reads others in the name of its client.
    let mut held = hangs();
    held.insert("namespace", format!("{}.{COUNTERS}", toy.place.name));
    at_the_next(&toy.place, "find", held).await;
    let answer = toy.get(&format!("/api/counters/{id}")).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "2");
    toy.finish().await;
}

#[tokio::test]
async fn a_transaction_that_keeps_conflicting_is_given_up_when_its_attempts_end() {
    let (log, _guard) = Log::capture();
    let (_mongo, place) = own_mongo().await;
    let mut timing = Timing::default();
    timing.db.attempts_end = Duration::from_secs(1);
    let toy = Toy::of_counters(place, timing).await;
    let conflict = doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    fail(&toy.place, "alwaysOn", "insert", conflict).await;
    let began = Instant::now();
    assert_eq!(toy.post().await.status(), 503);
    assert!(began.elapsed() < Timing::default().http.work);
    // Its reason is the last one's.
    log.told("MongoDB refuses: WriteConflict (112)").await;
    fail(&toy.place, "off", "insert", doc! {}).await;
    toy.finish().await;
}

#[tokio::test]
async fn a_write_that_waits_too_long_for_a_connection_is_refused_and_counted() {
    const WRITES: usize = 20;
    let (mongo, _) = own_mongo().await;
    let few = format!("{}&maxPoolSize=10", mongo.uri());
    let mut timing = Timing::default();
    timing.db.attempts_end = Duration::from_secs(1);
    let place = Place::at(&few, &nats_url());
    let toy = Toy::with_page(place, timing, "127.0.0.1:0", None).await;
    // For longer than others wait for a connection, and not as long as a stall.
    let held = doc! {
        "namespace": format!("{}.{COUNTERS}", toy.place.name), "blockConnection": true, "blockTimeMS": 3_000,
    };
    fail(&toy.place, "alwaysOn", "insert", held).await;
    let mut refused = 0;
    for answer in join_all((0..WRITES).map(|_| toy.post())).await {
        if answer.status() != 201 {
            let problem = assert_problem(answer, 503).await;
            assert_eq!(problem["type"], "/problems/overloaded");
            refused += 1;
        }
    }
    assert!((1..WRITES).contains(&refused), "{refused}");
    let metrics = client().get(toy.page("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counted = format!("http_server_requests_refused_total {refused}\n");
    assert!(metrics.contains(&counted), "{metrics}");
    fail(&toy.place, "off", "insert", doc! {}).await;
    toy.finish().await;
}
