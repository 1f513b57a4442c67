//! What the publisher sends, seen by a subscriber of the subjects: also what the stream refuses to store.

use std::time::Duration;

use async_nats::{
    HeaderMap, Message, Subscriber,
    jetstream::{self, context::PublishErrorKind, stream::Stream},
};
use bson::doc;
use futures_util::{FutureExt, StreamExt};
use testbed::{DEADLINE, Mongo, at_the_next, eventually, nats_url, plant};

use crate::{
    counters::Counters,
    refusals::allow,
    toy::{Place, Toy, event},
};

/// What is sent from now on.
async fn sent(place: &Place) -> Subscriber {
    let client = async_nats::connect(nats_url()).await.unwrap();
    let subscriber = client.subscribe(format!("{}.>", place.name)).await.unwrap();
    client.flush().await.unwrap();
    subscriber
}

async fn next(sent: &mut Subscriber) -> Message {
    let next = tokio::time::timeout(DEADLINE, sent.next()).await;
    next.expect("a message is sent").unwrap()
}

fn version(headers: &HeaderMap) -> i64 {
    let version = headers.get("ce-keyversion").unwrap().as_str();
    version.parse().unwrap()
}

async fn stream(place: &Place) -> (jetstream::Context, Stream) {
    let jetstream = jetstream::new(async_nats::connect(nats_url()).await.unwrap());
    let stream = jetstream.get_stream(&place.name).await.unwrap();
    (jetstream, stream)
}

#[tokio::test]
async fn what_the_stream_refuses_stays_no_and_holds_back_its_key_until_it_is_stored() {
    let toy = Toy::start().await;
    plant(&toy.place, [event("a", 0, doc! {})]).await;
    toy.place.drained().await;
    allow(&toy.place, 1).await;
    let mut attempts = sent(&toy.place).await;
    plant(
        &toy.place,
        [1, 2].map(|version| event("a", version, doc! {})),
    )
    .await;
    for _ in 0..3 {
        let refused = next(&mut attempts).await;
        assert_eq!(version(&refused.headers.unwrap()), 1, "2 waits for 1");
    }
    let events = toy.place.events().await;
    let marks = events.iter().map(|event| event.get_str("sent").unwrap());
    assert_eq!(marks.collect::<Vec<_>>(), ["YES", "NO", "NO"]);
    allow(&toy.place, -1).await;
    toy.place.drained().await;
    let stored = toy.place.messages().await;
    let versions = stored.iter().map(|message| version(&message.headers));
    assert_eq!(versions.collect::<Vec<_>>(), [0, 1, 2]);
    toy.finish().await;
}

#[tokio::test]
async fn an_event_that_waits_for_its_mark_is_not_published_again() {
    let mut place = Place::new();
    place.timing.mark_delay = Duration::from_secs(2);
    let toy = Toy::start_at(place).await;
    let mut attempts = sent(&toy.place).await;
    for _ in 0..3 {
        toy.create().await;
        next(&mut attempts).await;
    }
    toy.place.drained().await;
    assert!(attempts.next().now_or_never().is_none());
    toy.finish().await;
}

#[tokio::test]
async fn each_message_names_the_sequence_before_it_and_a_late_copy_is_refused() {
    let toy = Toy::start().await;
    let id = toy.create().await;
    for _ in 1..=3 {
        toy.update(&id).await;
    }
    toy.place.drained().await;
    let stored = toy.place.messages().await;
    let expected = |headers: &HeaderMap| {
        let named = headers.get("Nats-Expected-Last-Subject-Sequence");
        named.unwrap().as_str().parse::<u64>().unwrap()
    };
    let named: Vec<u64> = stored
        .iter()
        .map(|message| expected(&message.headers))
        .collect();
    // The first update is the first of its own subject.
    let (created, updated) = (0, 0);
    assert_eq!(
        named,
        [created, updated, stored[1].sequence, stored[2].sequence]
    );
    let (jetstream, _) = stream(&toy.place).await;
    for message in stored {
        let mut headers = HeaderMap::new();
        for (name, values) in message.headers.iter() {
            // As if the stream's window were over.
            if name.to_string() != "Nats-Msg-Id" {
                headers.insert(name.clone(), values[0].clone());
            }
        }
        let copy = jetstream.publish_with_headers(message.subject, headers, message.payload);
        let refused = copy.await.unwrap().await.unwrap_err();
        assert_eq!(refused.kind(), PublishErrorKind::WrongLastSequence);
    }
    toy.finish().await;
}

#[tokio::test]
async fn after_each_success_the_pauses_after_failures_begin_anew() {
    // Doubled each time, they would be longer than the test.
    const FAILURES: u32 = 14;
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    place.timing.first_retry = Duration::from_millis(10);
    place.timing.longest_key_retry = Duration::from_secs(3600);
    let toy = Toy::start_at(place).await;
    for _ in 0..FAILURES {
        at_the_next(&toy.place, "update", doc! { "errorCode": 2 }).await;
        toy.create().await;
        toy.place.drained().await;
    }
    toy.finish().await;
}

#[tokio::test]
async fn the_size_of_a_sweep_is_counted_where_it_found_anything() {
    let counters = Counters::start();
    let toy = Toy::start().await;
    for _ in 0..3 {
        toy.create().await;
        toy.place.drained().await;
    }
    let [sweeps, events] = ["_count", "_sum"].map(|it| format!("outbox_sweep_size_events{it}"));
    eventually("the last sweep has ended", async || {
        counters.count(&events) == 3
    })
    .await;
    assert_eq!(counters.count(&sweeps), 3);
    toy.finish().await;
}
