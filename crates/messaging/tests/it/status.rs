//! What operators are told of the backlog, and what they change.

use bson::{DateTime, Document, doc};
use messaging::{Outbox, Retry, Waiting};
use testbed::{Mongo, at_the_next, nats_url, plant};

use crate::toy::{Place, event};

/// An event that was made so many seconds ago.
fn unsent(key: &str, version: i64, seconds: i64) -> Document {
    let mut event = event(key, version, doc! {});
    let created_ms = DateTime::now().timestamp_millis() - seconds * 1000;
    event.insert("createdAt", DateTime::from_millis(created_ms));
    event
}

async fn backlog(place: &Place) -> Outbox {
    let parked = unsent("a", 0, 7200);
    let mut note =
        doc! { "reason": "too large", "at": DateTime::from_millis(0), "attempts": 3_i64 };
    for name in ["_id", "key", "version"] {
        note.insert(name, parked.get(name).unwrap());
    }
    let notes = place.database().await.collection::<Document>("parked");
    notes.insert_one(note).await.unwrap();
    let mut sent = unsent("c", 0, 10_800);
    sent.insert("sent", "YES");
    let (_, outbox) = place.prepared().await;
    let events = [
        unsent("b", 1, 600),
        sent,
        unsent("a", 1, 5400),
        unsent("b", 0, 1800),
        parked,
    ];
    plant(place, events).await;
    outbox
}

#[tokio::test]
async fn status_tells_how_many_wait_how_long_and_who_publishes() {
    let place = Place::new();
    let outbox = backlog(&place).await;
    for status in [outbox.status().await, outbox.sampled_status().await] {
        let status = status.unwrap();
        assert_eq!((status.unsent, status.parked), (4, 1));
        let oldest = status.oldest_unsent_seconds.unwrap();
        assert!((7200.0..7260.0).contains(&oldest), "{oldest}");
        // Apart from what is parked, and what waits behind it.
        let waiting = status.oldest_waiting_seconds.unwrap();
        assert!((1800.0..1860.0).contains(&waiting), "{waiting}");
        assert!(status.publisher.is_none());
    }
    place.remove().await;
}

#[tokio::test]
async fn what_waits_is_listed_in_the_order_in_which_it_is_published() {
    let place = Place::new();
    let outbox = backlog(&place).await;
    let listed = async |only_parked, limit| {
        let listed = outbox.list(only_parked, limit).await.unwrap();
        let name =
            |event: &Waiting| format!("{}{}", event.key.as_ref().unwrap(), event.version.unwrap());
        listed.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(listed(false, 10).await, ["a0", "a1", "b0", "b1"]);
    assert_eq!(listed(false, 3).await, ["a0", "a1", "b0"]);
    assert_eq!(listed(true, 10).await, ["a0"]);
    let first = outbox.list(false, 1).await.unwrap().remove(0);
    assert_eq!(first.r#type.as_deref(), Some("counter.updated"));
    let created = DateTime::parse_rfc3339_str(first.created_at.unwrap()).unwrap();
    let age_ms = DateTime::now().timestamp_millis() - created.timestamp_millis();
    assert!((7_200_000..7_260_000).contains(&age_ms), "{age_ms}");
    let parked = first.parked.unwrap();
    assert_eq!(parked.reason.as_deref(), Some("too large"));
    assert_eq!(parked.at.as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(parked.attempts, Some(3));
    place.remove().await;
}

#[tokio::test]
async fn only_what_is_parked_is_tried_again() {
    let place = Place::new();
    let outbox = backlog(&place).await;
    for event in place.events().await {
        let id = event.get_object_id("_id").unwrap();
        let is_parked = u64::from(
            place
                .parked()
                .await
                .iter()
                .any(|it| it.get_object_id("_id").unwrap() == id),
        );
        assert_eq!(outbox.retry(Retry::One(id)).await.unwrap(), is_parked);
    }
    assert_eq!(outbox.retry(Retry::AllParked).await.unwrap(), 0);
    assert_eq!(place.parked().await, []);
    place.remove().await;
}

#[tokio::test]
async fn figures_that_take_seconds_are_told_all_the_same() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let outbox = backlog(&place).await;
    // Longer than half of what it may take.
    let slow = doc! { "blockConnection": true, "blockTimeMS": 3000 };
    at_the_next(&place, "aggregate", slow).await;
    assert_eq!(outbox.sampled_status().await.unwrap().unsent, 4);
}

#[tokio::test]
async fn a_publisher_whose_lease_has_run_out_is_not_told_as_one() {
    let place = Place::new();
    let (db, outbox) = place.prepared().await;
    let leases = db.collection::<Document>("leases");
    let publisher_of_lease_for = async |seconds: i64| {
        let expires_ms = DateTime::now().timestamp_millis() + seconds * 1000;
        let expires_at = DateTime::from_millis(expires_ms);
        let lease = doc! { "instance": "host/7", "fence": 3_i64, "expiresAt": expires_at };
        let set = leases.update_one(doc! { "_id": "publisher" }, doc! { "$set": lease });
        set.upsert(true).await.unwrap();
        let publisher = outbox.status().await.unwrap().publisher;
        publisher.map(|publisher| (publisher.instance, publisher.fence))
    };
    let told = Some(("host/7".to_owned(), 3));
    assert_eq!(publisher_of_lease_for(10).await, told);
    // No instance takes one for so long.
    assert_eq!(publisher_of_lease_for(60).await, None);
    assert_eq!(publisher_of_lease_for(-1).await, None);
    place.remove().await;
}
