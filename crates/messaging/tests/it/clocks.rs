//! Times that a primary wrote whose clock was ahead: nobody waits for them.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use serde_json::json;

use crate::{
    counters::Counters,
    sent::{acknowledged, are_applied, are_aside, numbers, send, then},
    tally::Tally,
    toy::{Place, Toy},
};

fn in_seconds(seconds: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + seconds * 1_000)
}

#[tokio::test]
async fn a_lease_that_is_taken_although_it_has_not_expired_is_counted() {
    let counters = Counters::start();
    for (expires_at, forced) in [(in_seconds(-1), 0), (in_seconds(600), 1)] {
        let place = Place::new();
        let (db, _) = place.prepared().await;
        let leases = db.collection::<Document>("leases");
        let lease = doc! { "_id": "publisher", "holder": "another", "fence": 7_i64, "expiresAt": expires_at };
        leases.insert_one(lease).await.unwrap();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        toy.place.drained().await;
        assert_eq!(counters.count("outbox_leases_forced_total"), forced);
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_message_that_is_put_off_for_longer_than_any_pause_is_tried_at_once() {
    const LONGEST: Duration = Duration::from_secs(3_600);
    let mut place = Place::new();
    place.timing.first_retry = LONGEST;
    place.timing.inbox.longest_again = LONGEST;
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [then("a", 0, json!({ "again": 2 }))]).await;
    are_aside(&tally.place, "a", &[(0, "retrying")]).await;
    acknowledged(&tally.place).await;
    let database = tally.place.database().await;
    let letters = database.collection::<Document>("deadLetters");
    let far_ahead = doc! { "$set": { "nextAt": in_seconds(3 * 3_600) } };
    let put_off = letters.update_one(doc! { "_id.key": "a" }, far_ahead);
    assert_eq!(put_off.await.unwrap().modified_count, 1);
    are_applied(&tally.place, "a", [0]).await;
    assert_eq!(tally.calls("a", 0), 2);
    tally.finish().await;
}
