//! Several instances at once: who publishes, and who takes over.

use bson::{Document, doc};
use testbed::{Nats, Process, eventually};

use crate::{
    harness::{Place, TestApp},
    process::{command, create, start},
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
async fn of_several_instances_each_takes_writes_and_one_takes_over_from_another() {
    let first = TestApp::start().await;
    let second = TestApp::start_at(first.place.clone()).await;
    first.create().await;
    second.create().await;
    first.place.drained().await;
    let place = first.stop().await;
    second.create().await;
    place.drained().await;
    assert_eq!(place.messages().await.len(), 3);
    second.finish().await;
}

#[tokio::test]
async fn any_number_of_instances_start_at_once() {
    let place = Place::new();
    let starts = (0..4).map(|_| TestApp::start_at(place.clone()));
    let apps = futures_util::future::join_all(starts).await;
    for app in &apps {
        app.create().await;
    }
    place.drained().await;
    assert_eq!(place.messages().await.len(), 4);
    for app in apps {
        app.stop().await;
    }
    place.remove().await;
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
async fn an_instance_that_stops_does_not_take_the_lease_again() {
    let mut place = Place::new();
    for starts in 1..=6 {
        let app = TestApp::start_at(place).await;
        app.create().await;
        app.place.drained().await;
        place = app.stop().await;
        assert_eq!(publisher(&place).await.unwrap().1, starts);
    }
    place.remove().await;
}

#[tokio::test]
async fn a_publisher_that_crashes_is_replaced_within_four_seconds() {
    let place = Place::new();
    let [(mut first, _), (_second, address)] = two(&place).await;
    first.kill().unwrap();
    let database = place.database().await;
    let leases = database.collection::<Document>("leases");
    let left = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
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

#[tokio::test]
async fn an_instance_that_stands_by_writes_nothing() {
    let first = TestApp::start().await;
    let place = first.place.clone();
    eventually("the first publishes", async || {
        publisher(&place).await.is_some()
    })
    .await;
    // Nothing renews the lease any more, and it does not expire while it is looked at.
    let client = place.database().await.client().clone();
    let leases = place.database().await.collection::<Document>("leases");
    first.stop().await;
    let far = doc! { "$set": { "expiresAt": bson::DateTime::MAX, "holder": "another" } };
    leases
        .update_one(doc! { "_id": "publisher" }, far)
        .await
        .unwrap();
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let written = async || {
        let of_leases = doc! { "ns": format!("{}.leases", place.name) };
        oplog.count_documents(of_leases).await.unwrap()
    };
    let before = written().await;
    let asked = async || {
        let of_status = client
            .database("admin")
            .run_command(doc! { "top": 1 })
            .await
            .unwrap();
        let totals = of_status.get_document("totals").unwrap();
        let leases = totals
            .get_document(format!("{}.leases", place.name))
            .unwrap();
        leases
            .get_document("writeLock")
            .unwrap()
            .get_i32("count")
            .unwrap_or_default()
    };
    let second = TestApp::start_at(place.clone()).await;
    let asked_before = asked().await;
    eventually("it asks for the lease several times", async || {
        asked().await >= asked_before + 3
    })
    .await;
    assert_eq!(written().await, before);
    second.stop().await;
    place.remove().await;
}

#[tokio::test]
async fn a_publisher_that_is_cut_off_from_nats_alone_leaves_publishing_to_another() {
    let mut nats = Nats::absent();
    nats.start().await;
    let with = Place::new();
    let mut without = with.clone();
    without.nats_url = nats.url();
    let first = TestApp::start_at(without).await;
    first.create().await;
    first.place.drained().await;
    let second = TestApp::start_at(with).await;
    nats.kill();
    first.create().await;
    second.place.drained().await;
    // It does not take the lease back.
    first.create().await;
    second.place.drained().await;
    assert_eq!(second.place.messages().await.len(), 2);
    first.stop().await;
    second.finish().await;
}
