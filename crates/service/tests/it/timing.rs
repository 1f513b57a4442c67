//! What the service gives up after a while. The times are short here, so that nothing else comes first.

use std::time::{Duration, Instant};

use bson::doc;
use service::Timing;
use testbed::{at_the_next, fail, log::Log};

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
