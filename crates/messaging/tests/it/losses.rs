//! What the stream has lost, found without a service: where a replay begins to read, what it costs, when it fails.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_nats::{HeaderMap, jetstream};
use bson::{DateTime, Document, doc, oid::ObjectId};
use messaging::{
    JetStream, Outbox,
    replay::{self, Range, Unpublished},
};
use testbed::{eventually, plant, stream};

use crate::toy::{Place, event};

/// A stream without a service, and the database beside it.
async fn beside_a_stream(place: &Place) -> (Outbox, JetStream, jetstream::Context) {
    let client = async_nats::connect(&place.nats_url).await.unwrap();
    let context = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: place.name.clone(),
        subjects: vec![format!("{}.>", place.name)],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let ours = place.jetstream().await;
    ours.connected().await;
    let (_, outbox) = place.prepared().await;
    (outbox, ours, context)
}

/// In seconds.
fn now() -> i64 {
    DateTime::now().timestamp_millis() / 1000
}

/// An event that was sent `seconds` from now, which may be past.
fn sent(key: &str, seconds: i64) -> Document {
    let created_ms = DateTime::now().timestamp_millis() + seconds * 1000;
    let mut id = ObjectId::new().bytes();
    let created_seconds = u32::try_from(created_ms / 1000).unwrap();
    id[..4].copy_from_slice(&created_seconds.to_be_bytes());
    let mut sent = event(key, 0, doc! {});
    sent.insert("_id", ObjectId::from_bytes(id));
    sent.insert("sent", "YES");
    sent.insert("createdAt", DateTime::from_millis(created_ms));
    sent
}

/// From so many seconds ago until an hour from now.
fn range(since_seconds: i64) -> Range {
    let from_now =
        |seconds: i64| DateTime::from_millis(DateTime::now().timestamp_millis() + seconds * 1000);
    Range {
        since: from_now(-since_seconds),
        until: from_now(7200),
        key: None,
    }
}

async fn publish(place: &Place, jetstream: &jetstream::Context, id: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    let subject = format!("{}.counter.created.x", place.name);
    let ack = jetstream
        .publish_with_headers(subject, headers, "".into())
        .await
        .unwrap();
    ack.await.unwrap();
}

/// Clocks may differ by an hour: a message may seem to be that much older than its event, and no more.
#[tokio::test]
async fn the_stream_is_read_from_an_hour_before_the_range_to_its_end() {
    let place = Place::new();
    let (outbox, ours, jetstream) = beside_a_stream(&place).await;
    plant(&place, [sent("a", 3660)]).await;
    let mut seconds = Vec::new();
    let mut sequence = 0;
    // Several messages in each of three seconds: the first sequences of the seconds.
    for _ in 0..3 {
        let before = now();
        eventually("the next second", async || now() > before).await;
        let second = now();
        seconds.push((second, sequence + 1));
        for _ in 0..5 {
            sequence += 1;
            publish(&place, &jetstream, &format!("message-{sequence}")).await;
        }
    }
    for (second, first) in [(0, 1), seconds[0], seconds[1], seconds[2]] {
        let since = DateTime::from_millis((second + 3600) * 1000);
        let range = Range { since, ..range(0) };
        let read = AtomicU64::new(0);
        let lowest = AtomicU64::new(u64::MAX);
        let found = replay::find_lost(&outbox, &ours, &range, |read_now, last| {
            lowest.fetch_min(read_now, Ordering::Relaxed);
            read.fetch_add(1, Ordering::Relaxed);
            assert_eq!(last, 15);
        });
        assert_eq!(found.await.unwrap().lost.len(), 1);
        assert_eq!(
            (lowest.into_inner(), read.into_inner()),
            (first, 16 - first)
        );
    }
    // All of it is older.
    let since = DateTime::from_millis((seconds[2].0 + 30 + 3600) * 1000);
    let range = Range { since, ..range(0) };
    let found = replay::find_lost(&outbox, &ours, &range, |sequence, _| {
        panic!("read {sequence}")
    });
    assert_eq!(found.await.unwrap().lost.len(), 1);
    place.remove().await;
}

#[tokio::test]
async fn a_message_that_seems_an_hour_older_than_its_event_is_found() {
    let place = Place::new();
    let (outbox, ours, jetstream) = beside_a_stream(&place).await;
    let event = sent("a", 3500);
    publish(
        &place,
        &jetstream,
        &event.get_object_id("_id").unwrap().to_hex(),
    )
    .await;
    plant(&place, [event]).await;
    let found = replay::find_lost(&outbox, &ours, &range(-3400), |_, _| {})
        .await
        .unwrap();
    assert_eq!((found.checked, found.lost.len()), (1, 0));
    place.remove().await;
}

#[tokio::test]
async fn the_end_of_a_stream_may_be_deleted() {
    let place = Place::new();
    let (outbox, ours, jetstream) = beside_a_stream(&place).await;
    let [kept, deleted] = ["a", "b"].map(|key| sent(key, 0));
    for event in [&kept, &deleted] {
        publish(
            &place,
            &jetstream,
            &event.get_object_id("_id").unwrap().to_hex(),
        )
        .await;
    }
    stream(&place).await.delete_message(2).await.unwrap();
    plant(&place, [kept, deleted]).await;
    let found = replay::find_lost(&outbox, &ours, &range(60), |_, _| {})
        .await
        .unwrap();
    assert_eq!((found.checked, found.lost.len()), (2, 1));
    assert_eq!(found.lost[0].key, "b");
    let waiting = replay::waiting(&outbox, &found.lost).await.unwrap();
    assert_eq!(waiting, Unpublished::default());
    place.remove().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_not_called_lost() {
    let place = Place::new();
    let (outbox, ours, jetstream) = beside_a_stream(&place).await;
    plant(&place, [sent("a", 0)]).await;
    for number in 0..200 {
        publish(&place, &jetstream, &format!("message-{number}")).await;
    }
    // The stream goes while it is read.
    let range = range(60);
    let (nats_url, name) = (place.nats_url.clone(), place.name.clone());
    let found = replay::find_lost(&outbox, &ours, &range, move |sequence, _| {
        if sequence == 1 {
            let (nats_url, name) = (nats_url.clone(), name.clone());
            let deleting = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(async {
                    let client = async_nats::connect(nats_url).await.unwrap();
                    jetstream::new(client).delete_stream(name).await.unwrap();
                });
            });
            deleting.join().unwrap();
        }
    });
    found.await.unwrap_err();
    place.remove().await;
}

#[tokio::test]
async fn a_replay_waits_for_what_was_given_back_and_is_not_parked() {
    let place = Place::new();
    let (outbox, ours, _) = beside_a_stream(&place).await;
    plant(&place, ["a", "b", "c", "d"].map(|key| sent(key, 0))).await;
    let lost = replay::find_lost(&outbox, &ours, &range(60), |_, _| {})
        .await
        .unwrap()
        .lost;
    let keys: Vec<_> = lost.iter().map(|lost| lost.key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "c", "d"]);
    let waiting = async || {
        let waiting = replay::waiting(&outbox, &lost).await.unwrap();
        (waiting.in_turn, waiting.held_back)
    };
    assert_eq!(waiting().await, (0, 0));
    replay::give_back(&outbox, &lost).await.unwrap();
    assert_eq!(waiting().await, (4, 0));
    let database = place.database().await;
    let events = database.collection::<Document>("events");
    let parked = database.collection::<Document>("parked");
    let note = doc! { "_id": lost[0].id, "key": "a", "version": 0_i64, "reason": "too large" };
    parked.insert_one(note).await.unwrap();
    let published = doc! { "$set": { "sent": "YES" } };
    let second = doc! { "key": "b" };
    events.update_one(second, published).await.unwrap();
    assert_eq!(waiting().await, (2, 1));
    place.remove().await;
}

#[tokio::test]
async fn a_replay_costs_its_range_and_not_the_history() {
    let place = Place::new();
    let (outbox, ours, _) = beside_a_stream(&place).await;
    let database = place.database().await;
    let old = (0..500).map(|number| sent(&format!("old-{number}"), -86_400));
    plant(&place, old.chain([sent("new", 0)])).await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let found = replay::find_lost(&outbox, &ours, &range(60), |_, _| {})
        .await
        .unwrap();
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(found.checked, 1);
    let profile = database.collection::<Document>("system.profile");
    let asked = doc! { "ns": format!("{}.events", place.name), "op": "query" };
    let asked = profile.find_one(asked).await.unwrap().unwrap();
    assert!(asked.get_i32("docsExamined").unwrap() <= 2, "{asked}");
    place.remove().await;
}

#[tokio::test]
async fn a_replay_of_a_stream_that_forgets_by_itself_is_refused_and_says_why() {
    use jetstream::stream::{Config, RetentionPolicy};
    type Limit = fn(&mut Config);
    let limits: [(&str, Limit); 5] = [
        ("retention", |it| it.retention = RetentionPolicy::WorkQueue),
        ("max_msgs_per_subject", |it| it.max_messages_per_subject = 5),
        ("max_age", |it| it.max_age = Duration::from_secs(600)),
        ("max_msgs", |it| it.max_messages = 1),
        // A message takes 75 bytes there.
        ("max_bytes", |it| it.max_bytes = 120),
    ];
    for (told, limit) in limits {
        let place = Place::new();
        let (outbox, ours, context) = beside_a_stream(&place).await;
        context.delete_stream(&place.name).await.unwrap();
        let mut config = Config {
            name: place.name.clone(),
            subjects: vec![format!("{}.counter.>", place.name)],
            ..Config::default()
        };
        limit(&mut config);
        let can_be_told = config.max_age > Duration::ZERO;
        context.create_stream(config).await.unwrap();
        for _ in 0..2 {
            let stored = context.publish(format!("{}.counter.created.a", place.name), "{}".into());
            stored.await.unwrap().await.unwrap();
        }
        plant(&place, [sent("b", 0)]).await;
        let found = replay::find_lost(&outbox, &ours, &range(3600), |_, _| {}).await;
        let refused = found.unwrap_err().to_string();
        assert!(refused.contains(told), "{refused} does not say: {told}");
        let young = replay::find_lost(&outbox, &ours, &range(60), |_, _| {}).await;
        assert_eq!(young.is_ok(), can_be_told, "{told}");
        place.remove().await;
    }
}
