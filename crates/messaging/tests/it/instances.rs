//! Several instances at once: who publishes, and who takes over.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use messaging::Sent;
use testbed::{Mongo, Nats, at_the_next, eventually, has_entered, nats_url, plant};

use crate::{
    log::Log,
    toy::{Place, Toy, event},
};

/// How often the lease was taken.
async fn fence(place: &Place) -> Option<i64> {
    let leases = place.database().await.collection::<Document>("leases");
    let lease = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
    lease.map(|lease| lease.get_i64("fence").unwrap())
}

fn in_seconds(seconds: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + seconds * 1000)
}

#[tokio::test]
async fn of_several_instances_each_takes_writes_and_one_takes_over_from_another() {
    let first = Toy::start().await;
    let second = Toy::start_at(first.place.clone()).await;
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
    let starts = (0..4).map(|_| Toy::start_at(place.clone()));
    let toys = futures_util::future::join_all(starts).await;
    for toy in &toys {
        toy.create().await;
    }
    place.drained().await;
    assert_eq!(place.messages().await.len(), 4);
    for toy in toys {
        toy.stop().await;
    }
    place.remove().await;
}

#[tokio::test]
async fn an_instance_that_stops_does_not_take_the_lease_again() {
    let mut place = Place::new();
    for starts in 1..=6 {
        let toy = Toy::start_at(place).await;
        toy.create().await;
        toy.place.drained().await;
        place = toy.stop().await;
        assert_eq!(fence(&place).await.unwrap(), starts);
    }
    place.remove().await;
}

#[tokio::test]
async fn an_instance_that_stands_by_writes_its_name_and_not_each_time_that_it_asks() {
    let mut place = Place::new();
    place.timing.lease_term = Duration::from_secs(60);
    let first = Toy::start_at(place.clone()).await;
    eventually("the first publishes", async || {
        fence(&place).await.is_some()
    })
    .await;
    // Nothing renews the lease any more, and it does not expire while it is looked at.
    let client = place.database().await.client().clone();
    let leases = place.database().await.collection::<Document>("leases");
    first.stop().await;
    let lease = doc! { "_id": "publisher" };
    let far = doc! { "$set": { "expiresAt": in_seconds(120), "holder": "another" } };
    leases.update_one(lease, far).await.unwrap();
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let written = async || {
        let of_leases = doc! { "ns": format!("{}.leases", place.name) };
        oplog.count_documents(of_leases).await.unwrap()
    };
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
    let second = Toy::start_at(place.clone()).await;
    eventually("its name stands there", async || {
        let name = doc! { "_id": "publisher", "waiting.by": { "$type": "string" } };
        leases.count_documents(name).await.unwrap() == 1
    })
    .await;
    let (asked_before, written_before) = (asked().await, written().await);
    eventually("it asks for the lease several times", async || {
        asked().await >= asked_before + 8
    })
    .await;
    let again = written().await - written_before;
    assert!((1..=4).contains(&again), "{again} writes");
    second.stop().await;
    place.remove().await;
}

/// As a primary left it whose clock was ten minutes ahead, or as somebody wrote it by hand.
#[tokio::test]
async fn a_lease_that_nobody_can_hold_is_taken_and_its_fence_goes_on_counting() {
    let held: [(Bson, Bson, i64); 4] = [
        (7_i64.into(), in_seconds(600).into(), 8),
        (7.0.into(), in_seconds(-1).into(), 8),
        ("seven".into(), in_seconds(-1).into(), 1),
        (Bson::Null, "tomorrow".into(), 1),
    ];
    for (number, expires_at, next) in held {
        let place = Place::new();
        let (db, _) = place.prepared().await;
        let leases = db.collection::<Document>("leases");
        let lease = doc! { "_id": "publisher", "holder": "another", "fence": number, "expiresAt": expires_at };
        leases.insert_one(lease).await.unwrap();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        toy.place.drained().await;
        assert_eq!(fence(&toy.place).await, Some(next));
        let by_hand = doc! { "$set": { "fence": next as f64 } };
        leases
            .update_one(doc! { "_id": "publisher" }, by_hand)
            .await
            .unwrap();
        eventually("it is renewed as a number", async || {
            let lease = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
            lease.unwrap().get_i64("fence").is_ok()
        })
        .await;
        toy.create().await;
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_publisher_that_is_cut_off_from_nats_alone_leaves_publishing_to_another() {
    let mut nats = Nats::absent();
    nats.start().await;
    let with = Place::new();
    let mut without = with.clone();
    without.nats_url = nats.url();
    let first = Toy::start_at(without).await;
    first.create().await;
    first.place.drained().await;
    let second = Toy::start_at(with).await;
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

#[tokio::test]
async fn who_has_lost_the_lease_stops_and_asks_for_it_again() {
    let (log, _guard) = Log::capture();
    let mut place = Place::new();
    // It has not left the lease to another.
    place.timing.precedence = Duration::from_secs(3600);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    plant(&toy.place, [event("no subject", 0, doc! {})]).await;
    let seen = || toy.recent.look().0;
    eventually("one is parked", async || {
        seen().iter().any(|event| event.is_parked)
    })
    .await;
    let database = toy.place.database().await;
    let leases = database.collection::<Document>("leases");
    let taken = doc! { "$set": { "holder": ObjectId::new(), "expiresAt": in_seconds(10) } };
    let lease = doc! { "_id": "publisher" };
    leases.update_one(lease.clone(), taken).await.unwrap();
    log.told("another instance has taken the publisher's lease")
        .await;
    // The other one decides about what is parked.
    let events = database.collection::<Document>("events");
    let published = doc! { "$set": { "sent": "YES" } };
    events.update_many(doc! {}, published).await.unwrap();
    let parked = database.collection::<Document>("parked");
    parked.delete_many(doc! {}).await.unwrap();
    eventually("nothing is shown as unsent", async || {
        seen().iter().all(|event| event.sent == Sent::Yes)
    })
    .await;
    let ends = doc! { "$set": { "expiresAt": in_seconds(0) } };
    leases.update_one(lease, ends).await.unwrap();
    toy.create().await;
    toy.place.drained().await;
    assert_eq!(fence(&toy.place).await, Some(2));
    toy.finish().await;
}

#[tokio::test]
async fn a_renewal_that_is_under_way_does_not_take_back_a_lease_that_is_handed_over() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let toy = Toy::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    toy.create().await;
    toy.place.drained().await;
    let slow = doc! { "blockConnection": true, "blockTimeMS": 1_000 };
    at_the_next(&toy.place, "findAndModify", slow).await;
    has_entered(&toy.place, 1).await;
    let place = toy.stop().await;
    let leases = place.database().await.collection::<Document>("leases");
    let handed_over = doc! { "_id": "publisher", "$expr": { "$lte": ["$expiresAt", "$$NOW"] } };
    assert_eq!(leases.count_documents(handed_over).await.unwrap(), 1);
    place.remove().await;
}
