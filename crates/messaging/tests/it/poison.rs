//! Events that can never be published, as a script or another program may write them: each is parked with its reason, and keeps no
//! other waiting.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use messaging::{Outbox, Retry};
use testbed::{LARGEST_DOCUMENT, eventually, plant, poison};

use crate::toy::{Place, Toy, event, published, unsent};

/// Events of one key that are published.
const RUN: i64 = 150;

/// How often the events were queried since the server started.
async fn queries(place: &Place) -> i32 {
    let admin = place.database().await.client().database("admin");
    let top = admin.run_command(doc! { "top": 1 }).await.unwrap();
    let of_all = top.get_document("totals").unwrap();
    let of_events = of_all.get_document(format!("{}.events", place.name));
    let queries = of_events.unwrap().get_document("queries").unwrap();
    queries.get_i32("count").unwrap()
}

fn unreadable(key: &str) -> Document {
    let mut event = event(key, 0, doc! {});
    event.insert("data", "text");
    event
}

async fn rests(place: &Place) {
    let (last, same) = (Cell::new(0), Cell::new(0));
    eventually("nothing is read for a while", async || {
        let now = queries(place).await;
        let is_same = last.replace(now) == now;
        same.set(if is_same { same.get() + 1 } else { 0 });
        same.get() == 20
    })
    .await;
}

#[tokio::test]
async fn what_can_never_be_published_is_parked_with_its_reason_and_keeps_nobody_waiting() {
    let place = Place::new();
    let (_, outbox) = place.prepared().await;
    let poison = poison("counter");
    let count = poison.len();
    let ids: Vec<ObjectId> = poison
        .iter()
        .map(|(_, event)| event.get_object_id("_id").unwrap())
        .collect();
    let database = place.database().await;
    let events = database.collection::<RawDocumentBuf>("events");
    for (_, event) in &poison {
        events.insert_one(event).await.unwrap();
    }
    plant(
        &place,
        (0..500).map(|number| event(&format!("z{number:03}"), 0, doc! {})),
    )
    .await;
    // Longer than a turn: the walk goes on behind it.
    plant(&place, (0..RUN).map(|version| event("y", version, doc! {}))).await;
    // Held back, and not parked themselves: no key is as good as null.
    let mut keyless = event("", 1, doc! {});
    keyless.remove("key");
    plant(&place, [event("0d", 1, doc! {}), keyless]).await;
    let toy = Toy::start_at(place).await;
    eventually("all of it is parked", async || {
        outbox.list(true, 100).await.unwrap().len() == count
    })
    .await;
    for (id, (reason, _)) in ids.iter().zip(&poison) {
        let listed = outbox.list(true, 100).await.unwrap();
        let parked = listed.iter().find(|event| event.id == id.to_hex()).unwrap();
        let told = parked.parked.as_ref().unwrap().reason.as_deref().unwrap();
        assert!(told.contains(reason), "{told} does not say: {reason}");
    }
    let later = toy.create().await;
    let held_back = i64::try_from(count).unwrap() + 2;
    eventually("all others are published", async || {
        outbox.status().await.unwrap().unsent == held_back
    })
    .await;
    assert_eq!(published(&toy.place, &later).await, [0]);
    assert_eq!(published(&toy.place, "y").await.len(), RUN as usize);
    assert_eq!(toy.place.messages().await.len(), 500 + RUN as usize + 1);
    let listed = outbox.list(false, 100).await.unwrap();
    assert_eq!(listed.len(), count + 2);
    let key = Some("\u{fffd}\u{fffd}");
    assert!(listed.iter().any(|event| event.key.as_deref() == key));
    rests(&toy.place).await;
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn what_is_parked_is_not_read_again_however_large_it_is() {
    let toy = Toy::start().await;
    let large = "x".repeat(LARGEST_DOCUMENT / 2);
    for key in [Bson::from("a"), doc! { "b": 1 }.into(), Bson::Null] {
        let mut event = event("a", 0, doc! { "t": &large });
        event.insert("key", key);
        plant(&toy.place, [event]).await;
    }
    eventually("all are parked", async || {
        toy.place.parked().await.len() == 3
    })
    .await;
    rests(&toy.place).await;
    let database = toy.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    toy.create().await;
    eventually("the new one is published", async || {
        toy.place.messages().await.len() == 1
    })
    .await;
    rests(&toy.place).await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = database.collection::<Document>("system.profile");
    let read = doc! { "ns": format!("{}.events", toy.place.name), "op": "query" };
    assert!(profile.count_documents(read.clone()).await.unwrap() > 0);
    let mut of_parked = read;
    of_parked.insert("docsExamined", doc! { "$gt": 1 });
    assert_eq!(profile.find_one(of_parked).await.unwrap(), None);
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn a_key_whose_parked_event_was_deleted_goes_on() {
    let mut place = Place::new();
    place.timing.safety_interval = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let unreadable = unreadable("a");
    plant(&toy.place, [unreadable, event("a", 1, doc! {})]).await;
    eventually("it is parked", async || toy.place.parked().await.len() == 1).await;
    let events = toy.place.database().await.collection::<Document>("events");
    events
        .delete_one(doc! { "key": "a", "version": 0 })
        .await
        .unwrap();
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "a").await, [1]);
    eventually("it is forgotten", async || {
        toy.place.parked().await.is_empty()
    })
    .await;
    toy.finish().await;
}

#[tokio::test]
async fn what_is_tried_again_is_parked_again_with_one_attempt_more_or_published_and_forgotten() {
    let toy = Toy::start().await;
    let unreadable = unreadable("a");
    plant(&toy.place, [unreadable]).await;
    // As a majority of the servers has it, which the retry reads too.
    let outbox = Outbox::new(&toy.place.db().await);
    let attempts = async |wanted: i64| {
        eventually("it is parked", async || {
            let listed = outbox.list(true, 1).await.unwrap();
            let parked = listed.first().and_then(|event| event.parked.as_ref());
            parked.is_some_and(|parked| parked.attempts == Some(wanted))
        })
        .await;
    };
    attempts(1).await;
    assert_eq!(outbox.retry(Retry::AllParked).await.unwrap(), 1);
    attempts(2).await;
    let events = toy.place.database().await.collection::<Document>("events");
    let mended = doc! { "$set": { "data": { "fine": true } } };
    events
        .update_one(doc! { "key": "a" }, mended)
        .await
        .unwrap();
    let began = Instant::now();
    assert_eq!(outbox.retry(Retry::AllParked).await.unwrap(), 1);
    toy.place.drained().await;
    assert!(began.elapsed() < toy.place.timing.safety_interval / 2);
    let notes = toy.place.database().await.collection::<Document>("parked");
    eventually("it is forgotten", async || {
        notes.count_documents(doc! {}).await.unwrap() == 0
    })
    .await;
    toy.finish().await;
}

#[tokio::test]
async fn what_cannot_be_read_behind_an_event_that_waits_for_its_mark_is_parked_after_it() {
    let mut place = Place::new();
    place.timing.safety_interval = Duration::from_secs(3600);
    place.timing.mark_delay = Duration::from_secs(2);
    let toy = Toy::start_at(place).await;
    plant(&toy.place, [event("a", 0, doc! {})]).await;
    eventually("it is published", async || {
        published(&toy.place, "a").await == [0]
    })
    .await;
    let mut unreadable = unreadable("a");
    unreadable.insert("version", 1_i64);
    plant(&toy.place, [unreadable]).await;
    eventually("it is parked", async || toy.place.parked().await.len() == 1).await;
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn what_stands_behind_a_parked_event_in_the_same_turn_is_held_back() {
    let place = Place::new();
    place.prepared().await;
    let never = doc! { "no JSON": f64::NAN };
    plant(&place, [event("a", 0, never), event("a", 1, doc! {})]).await;
    let toy = Toy::start_at(place).await;
    eventually("it is parked", async || toy.place.parked().await.len() == 1).await;
    toy.create().await;
    unsent(&toy, 2).await;
    assert!(published(&toy.place, "a").await.is_empty());
    toy.stop().await.remove().await;
}
