//! Several instances at once: who publishes, and who takes over.

use bson::{Document, doc};
use mongodb::options::ReadConcern;
use testbed::{Process, eventually, start};

use crate::{
    harness::Place,
    process::{command, create},
};

/// The lease: which process publishes, and the fence.
async fn publisher(place: &Place) -> Option<(u32, i64)> {
    let leases = place.database().await.collection::<Document>("leases");
    let lease = leases
        .find_one(doc! { "_id": "publisher" })
        .await
        .unwrap()?;
    let pid = lease
        .get_str("instance")
        .unwrap()
        .rsplit('/')
        .next()?
        .parse();
    Some((pid.unwrap(), lease.get_i64("fence").unwrap()))
}

/// Two processes, the one that publishes first.
async fn two(place: &Place) -> [(Process, String); 2] {
    let first = start(&mut command(place)).await;
    eventually("the first publishes", async || {
        publisher(place).await.is_some()
    })
    .await;
    [first, start(&mut command(place)).await]
}

#[tokio::test]
async fn a_publisher_that_is_told_to_stop_hands_over_at_once() {
    let place = Place::new();
    let [(mut first, _), (_second, address)] = two(&place).await;
    let (_, fence) = publisher(&place).await.unwrap();
    first.signal("-TERM");
    assert_eq!(first.ended().await.code(), Some(0));
    // Free for anybody: the other has it, or may have it at once.
    let leases = place.database().await.collection::<Document>("leases");
    let still_its = doc! { "fence": fence, "$expr": { "$gt": ["$expiresAt", "$$NOW"] } };
    assert_eq!(leases.count_documents(still_its).await.unwrap(), 0);
    assert_eq!(create(&address).await.unwrap().status(), 201);
    place.drained().await;
    place.remove().await;
}

#[tokio::test]
async fn a_publisher_that_crashes_is_replaced_within_four_seconds() {
    let place = Place::new();
    let [(mut first, _), (_second, address)] = two(&place).await;
    first.kill().unwrap();
    let database = place.database().await;
    let leases = database.collection::<Document>("leases");
    let left = leases.find_one(doc! { "_id": "publisher" });
    // A renewal that no majority had yet counts as well.
    let left = left.read_concern(ReadConcern::local()).await.unwrap();
    let expires_at = *left.unwrap().get_datetime("expiresAt").unwrap();
    assert_eq!(create(&address).await.unwrap().status(), 201);
    place.drained().await;
    // The server's own clock says when the other took it: how late this test looks does not matter.
    let oplog = database
        .client()
        .database("local")
        .collection::<Document>("oplog.rs");
    let after_the_first =
        doc! { "ns": format!("{}.leases", place.name), "wall": { "$gte": expires_at } };
    let taken = oplog.find_one(after_the_first).await.unwrap().unwrap();
    let taken_ms = taken.get_datetime("wall").unwrap().timestamp_millis();
    let waited_ms = taken_ms - expires_at.timestamp_millis();
    assert!(waited_ms <= 1_000, "{waited_ms} ms after a term of 3 s");
    place.remove().await;
}

#[tokio::test]
async fn a_publisher_that_was_paused_leaves_publishing_to_the_other() {
    let place = Place::new();
    let [(first, first_address), (second, address)] = two(&place).await;
    let (first_pid, fence) = publisher(&place).await.unwrap();
    assert_eq!(Some(first_pid), first.pid());
    first.signal("-STOP");
    for _ in 0..20 {
        assert_eq!(create(&address).await.unwrap().status(), 201);
    }
    place.drained().await;
    first.signal("-CONT");
    // The one that was paused goes on taking writes.
    for _ in 0..20 {
        assert_eq!(create(&first_address).await.unwrap().status(), 201);
    }
    place.drained().await;
    let (second_pid, next_fence) = publisher(&place).await.unwrap();
    assert_eq!((Some(second_pid), next_fence), (second.pid(), fence + 1));
    assert_eq!(place.messages().await.len(), 40);
    drop((first, second));
    place.remove().await;
}
