//! Messages that somebody else publishes in our name.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use bson::{DateTime, Document, doc, oid::ObjectId};
use testbed::{eventually, nats_url, plant};

use crate::{
    conflicts::ids_are_forgotten,
    log::Log,
    toy::{Place, Toy, event},
};

/// Somebody who may publish on our subjects does: a message of such an id and version.
async fn forge(
    place: &Place,
    verb: &str,
    key: &str,
    id: impl ToString,
    version: i64,
    message_id: Option<ObjectId>,
) {
    let nats = jetstream::new(async_nats::connect(nats_url()).await.unwrap());
    eventually("there is a stream", async || {
        nats.get_stream(&place.stream).await.is_ok()
    })
    .await;
    let mut headers = HeaderMap::new();
    // The stream would take it for a copy of another with that id.
    if let Some(message_id) = message_id {
        headers.insert("Nats-Msg-Id", message_id.to_hex());
    }
    headers.insert("ce-id", id.to_string());
    headers.insert("ce-keyversion", version.to_string());
    let subject = format!("{}.counter.{verb}.{key}", place.name);
    let payload = r#"{"value": 1000}"#.into();
    let sent = nats.publish_with_headers(subject, headers, payload).await;
    sent.unwrap().await.unwrap();
}

/// The event of that version is parked, is not marked, and the log says why.
async fn is_parked(place: &Place, version: i64, why: &str) {
    eventually("it is parked", async || place.parked().await.len() == 1).await;
    let parked = place.parked().await.remove(0);
    let reason = parked.get_str("reason").unwrap();
    assert!(
        reason.starts_with("conflict: ") && reason.contains(why),
        "{reason}"
    );
    assert_eq!(parked.get_i64("version").unwrap(), version);
    let events = place.database().await.collection::<Document>("events");
    let unsent = doc! { "version": version, "sent": "NO" };
    assert_eq!(events.count_documents(unsent).await.unwrap(), 1);
}

#[tokio::test]
async fn a_message_under_the_next_events_id_does_not_count_as_the_event() {
    for restarts in [false, true] {
        let mut toy = Toy::start().await;
        let mut next = event("a", 0, doc! { "value": 0 });
        let id = ObjectId::new();
        next.insert("_id", id);
        forge(&toy.place, "created", "a", id, 0, Some(id)).await;
        if restarts {
            toy = Toy::start_at(toy.stop().await).await;
        }
        plant(&toy.place, [next]).await;
        is_parked(&toy.place, 0, "under this event's id").await;
        toy.create().await;
        toy.stop().await.remove().await;
    }
}

#[tokio::test]
async fn a_message_of_a_version_far_ahead_hides_no_event_whoever_it_names() {
    for names_an_event_of_ours in [false, true] {
        let toy = Toy::start().await;
        let [key, other] = [toy.create().await, toy.create().await];
        toy.place.drained().await;
        let events = toy.place.database().await.collection::<Document>("events");
        let of_other = events
            .find_one(doc! { "key": &other })
            .await
            .unwrap()
            .unwrap();
        let id = if names_an_event_of_ours {
            of_other.get_object_id("_id").unwrap()
        } else {
            ObjectId::new()
        };
        forge(&toy.place, "updated", &key, id, i64::MAX, None).await;
        let toy = Toy::start_at(toy.stop().await).await;
        toy.update(&key).await;
        is_parked(&toy.place, 1, "holds version 9223372036854775807").await;
        toy.stop().await.remove().await;
    }
}

#[tokio::test]
async fn a_lease_until_an_impossible_time_is_taken_and_told() {
    let place = Place::new();
    let (db, outbox) = place.prepared().await;
    let forged = doc! {
        "_id": "publisher", "holder": ObjectId::new(), "instance": "nobody/1", "fence": 7_i64,
        "expiresAt": DateTime::from_millis(253_402_300_799_000),
    };
    let leases = db.collection::<Document>("leases");
    leases.insert_one(forged).await.unwrap();
    assert!(outbox.status().await.unwrap().publisher.is_none());
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    log.told("held until an impossible time").await;
    toy.finish().await;
}

#[tokio::test]
async fn a_later_version_under_our_own_next_id_hides_no_earlier_one() {
    let toy = Toy::start().await;
    let key = toy.create().await;
    toy.place.drained().await;
    // Both wait in the database, and their ids can be guessed.
    let place = toy.stop().await;
    let ids = [(); 2].map(|()| ObjectId::new());
    let waiting = ids.iter().zip(1..).map(|(id, version)| {
        let mut event = event(&key, version, doc! { "value": version });
        event.insert("_id", id);
        event
    });
    plant(&place, waiting).await;
    forge(&place, "updated", &key, ids[1], 2, None).await;
    let toy = Toy::start_at(place).await;
    is_parked(&toy.place, 1, "holds version 2").await;
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn a_message_under_an_id_that_is_written_otherwise_than_ours_changes_nothing() {
    let toy = Toy::start().await;
    let id = ObjectId::parse_str("abcdefabcdefabcdefabcdef").unwrap();
    let otherwise = id.to_hex().to_uppercase();
    forge(&toy.place, "updated", "a", otherwise, 7, None).await;
    let mut first = event("a", 0, doc! {});
    first.insert("_id", id);
    plant(&toy.place, [first]).await;
    // It is found by its version alone.
    is_parked(&toy.place, 0, "holds version 7").await;
    toy.create().await;
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn a_message_behind_ours_without_a_version_makes_no_second_copy_of_it() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let key = toy.create().await;
    toy.place.drained().await;
    let place = toy.stop().await;
    let nats = jetstream::new(async_nats::connect(nats_url()).await.unwrap());
    let subject = format!("{}.counter.note.{key}", place.name);
    ids_are_forgotten(&place).await;
    nats.publish(subject, "a note".into())
        .await
        .unwrap()
        .await
        .unwrap();
    // Whoever published it died before the mark.
    let unmarked = doc! { "$set": { "sent": "NO" }, "$unset": { "sentAt": "" } };
    let events = place.database().await.collection::<Document>("events");
    events
        .update_one(doc! { "key": &key }, unmarked)
        .await
        .unwrap();
    let toy = Toy::start_at(place).await;
    toy.place.drained().await;
    let messages = toy.place.messages().await;
    let of_key = messages.iter().filter(|it| it.subject.ends_with(&key));
    assert_eq!(of_key.count(), 2, "ours and the note");
    toy.stop().await.remove().await;
}
