//! A stop: what is still taken, and what is not waited for.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use bson::{DateTime, Document, doc};
use service::Timing;
use testbed::{DEADLINE, Place, assert_problem, at_the_next, eventually, has_entered};
use tokio::time::timeout;

use crate::toy::{Toy, hangs, own_mongo};

#[tokio::test]
async fn readiness_is_503_as_soon_as_a_stop_is_asked_for_and_requests_are_taken_for_stop_delay() {
    const STOP_DELAY: Duration = Duration::from_secs(3);
    let toy = Toy::with_stop_delay(Place::shared(), STOP_DELAY).await;
    let asked = Instant::now();
    toy.ask_to_stop();
    let unready = assert_problem(toy.get("/health/ready").await, 503).await;
    assert_eq!(unready["errors"][0]["message"], "the service is stopping");
    assert_eq!(toy.get("/health/live").await.status(), 200);
    toy.create().await;
    let address = toy.address.trim_start_matches("http://");
    eventually("no connection is taken any more", async || {
        TcpStream::connect(address).is_err()
    })
    .await;
    assert!(asked.elapsed() >= STOP_DELAY);
    toy.finish().await;
}

#[tokio::test]
async fn on_a_stop_a_request_that_does_not_end_keeps_neither_the_lease_nor_the_process() {
    let (_mongo, place) = own_mongo().await;
    let mut timing = Timing {
        drain: Duration::from_secs(4),
        ..Timing::default()
    };
    timing.http_drain = Duration::from_millis(200);
    let toy = Toy::of_counters(place, timing).await;
    toy.create().await;
    toy.place.drained().await;
    at_the_next(&toy.place, "insert", hangs()).await;
    tokio::spawn(toy.request());
    has_entered(&toy.place, 1).await;
    let asked = Instant::now();
    toy.ask_to_stop();
    let leases = toy.place.database().await.collection::<Document>("leases");
    eventually("the lease is handed over", async || {
        let lease = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
        let expires = *lease.unwrap().get_datetime("expiresAt").unwrap();
        expires <= DateTime::now()
    })
    .await;
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "it waited for the request"
    );
    timeout(DEADLINE, toy.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
