//! What the stream has lost is found and published again.

use std::time::{Duration, Instant};

use async_nats::jetstream::{
    self,
    message::{PublishMessage, StreamMessage},
};
use bson::{DateTime, Document, doc};
use futures_util::{FutureExt, StreamExt};
use messaging::replay::{self, Found, Range};
use testbed::{eventually, plant, stream};
use tokio::task::unconstrained;

use crate::{
    counters::Counters,
    operator::outbox,
    toy::{Place, Toy, event, published},
};

/// Events that were created from so many hours ago until so many hours ago.
fn hours_ago(since: i64, until: i64) -> Range {
    let ago =
        |hours: i64| DateTime::from_millis(DateTime::now().timestamp_millis() - hours * 3_600_000);
    Range {
        since: ago(since),
        until: ago(until),
        key: None,
    }
}

/// Until an hour from now: all of a test's.
fn last_hour() -> Range {
    hours_ago(1, -1)
}

async fn find(place: &Place, range: &Range) -> Found {
    let (_, outbox) = place.prepared().await;
    let jetstream = place.jetstream().await;
    jetstream.connected().await;
    let found = replay::find_lost(&outbox, &jetstream, range, |_, _| {});
    found.await.unwrap()
}

/// How many were looked at, and the versions of what is lost.
fn told(found: &Found) -> (usize, Vec<i64>) {
    let versions = found.lost.iter().map(|lost| lost.version);
    (found.checked, versions.collect())
}

/// Publishes again what is lost, and waits until that is done; what it was.
async fn replay(place: &Place) -> (usize, Vec<i64>) {
    let found = find(place, &last_hour()).await;
    let (_, outbox) = place.prepared().await;
    replay::give_back(&outbox, &found.lost).await.unwrap();
    eventually("it is published again", async || {
        replay::waiting(&outbox, &found.lost).await.unwrap().in_turn == 0
    })
    .await;
    told(&found)
}

#[tokio::test]
async fn replay_publishes_again_what_the_stream_lost_and_nothing_else() {
    let counters = Counters::start();
    // A window that is soon over: the ids of what is lost are forgotten.
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let id = toy.create().await;
    for _ in 1..=3 {
        toy.update(&id).await;
    }
    let kept = toy.create().await;
    toy.place.drained().await;
    let nothing = (5, vec![]);
    assert_eq!(told(&find(&toy.place, &last_hour()).await), nothing);

    // The broker loses the end of the counter's history: versions 2 and 3.
    let stream = stream(&toy.place).await;
    for message in toy.place.messages().await {
        let version = message.headers.get("ce-keyversion").unwrap().as_str();
        if message.subject.ends_with(&id) && ["2", "3"].contains(&version) {
            stream.delete_message(message.sequence).await.unwrap();
        }
    }
    assert_eq!(published(&toy.place, &id).await, [0, 1]);

    let of_key = |key: &str| Range {
        key: Some(key.to_owned()),
        ..last_hour()
    };
    let of_id = find(&toy.place, &of_key(&id)).await;
    assert_eq!(told(&of_id), (4, vec![2, 3]));
    let of_another = find(&toy.place, &of_key(&kept)).await;
    assert_eq!(told(&of_another), (1, vec![]));
    let of_later = find(&toy.place, &hours_ago(-1, -2)).await;
    assert_eq!(told(&of_later), (0, vec![]));
    let of_earlier = find(&toy.place, &hours_ago(2, 1)).await;
    assert_eq!(told(&of_earlier), (0, vec![]));
    let is_unchanged = published(&toy.place, &id).await == [0, 1];
    assert!(is_unchanged, "to look for it changes nothing");

    assert_eq!(replay(&toy.place).await, (5, vec![2, 3]));
    assert_eq!(published(&toy.place, &id).await, [0, 1, 2, 3]);
    assert_eq!(published(&toy.place, &kept).await, [0]);
    assert_eq!(told(&find(&toy.place, &last_hour()).await), nothing);
    // How long ago they were made says nothing of the publisher.
    let measured = counters.count("outbox_commit_to_ack_seconds_count");
    assert_eq!(measured, 5);
    toy.finish().await;
}

#[tokio::test]
async fn replay_fills_a_stream_that_is_gone_and_goes_behind_what_came_later() {
    let toy = Toy::start().await;
    let id = toy.create().await;
    toy.update(&id).await;
    toy.place.drained().await;
    let client = async_nats::connect(&toy.place.nats_url).await.unwrap();
    jetstream::new(client)
        .delete_stream(&toy.place.name)
        .await
        .unwrap();
    // What is new makes a new stream.
    toy.update(&id).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &id).await, [2]);

    assert_eq!(replay(&toy.place).await, (3, vec![0, 1]));
    assert_eq!(published(&toy.place, &id).await, [2, 0, 1]);
    toy.update(&id).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &id).await, [2, 0, 1, 3]);
    toy.finish().await;
}

#[tokio::test]
async fn an_id_that_the_stream_still_remembers_is_not_taken_for_a_message() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_secs(2);
    let toy = Toy::start_at(place).await;
    let id = toy.create().await;
    toy.place.drained().await;
    stream(&toy.place).await.purge().await.unwrap();

    assert_eq!(replay(&toy.place).await, (1, vec![0]));
    assert_eq!(published(&toy.place, &id).await, [0]);
    toy.finish().await;
}

#[tokio::test]
async fn an_event_that_is_given_back_has_no_time_of_publication() {
    // Nobody publishes here, so it stays as it was given back.
    let place = Place::new();
    let (_, outbox) = place.prepared().await;
    let mut sent = event("a", 0, doc! {});
    sent.extend(doc! { "sent": "YES", "sentAt": DateTime::now() });
    plant(&place, [sent]).await;
    let found = find(&place, &last_hour()).await;
    replay::give_back(&outbox, &found.lost).await.unwrap();
    let given_back = &place.events().await[0];
    assert_eq!(given_back.get_str("sent").unwrap(), "NO");
    // The index that removes what was sent counts from this time.
    assert!(!given_back.contains_key("sentAt"), "{given_back}");
    place.remove().await;
}

#[tokio::test]
async fn a_replay_waits_until_the_stream_has_forgotten_the_ids_of_what_it_lost() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_secs(3);
    let toy = Toy::start_at(place).await;
    let began = Instant::now();
    let keys = [toy.create().await, toy.create().await];
    toy.place.drained().await;
    let stream = testbed::stream(&toy.place).await;
    stream.purge().await.unwrap();
    outbox(&toy.place, &["replay", "--since", "1h"])
        .await
        .unwrap();
    assert!(began.elapsed() >= Duration::from_secs(3));
    let of = |message: &StreamMessage| message.subject.rsplit('.').next().unwrap().to_owned();
    let mut replayed: Vec<_> = toy.place.messages().await.iter().map(of).collect();
    replayed.sort();
    assert_eq!(replayed, keys);
    toy.finish().await;
}

#[tokio::test]
async fn a_replay_of_a_long_history_reads_it_once_and_not_for_each_event() {
    const VERSIONS: i64 = 60;
    const QUESTIONS: i64 = 8;
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let id = toy.create().await;
    for _ in 1..VERSIONS {
        toy.update(&id).await;
    }
    toy.place.drained().await;
    stream(&toy.place).await.purge().await.unwrap();
    // What is lost goes behind it, and only the whole history tells whether it is there.
    toy.update(&id).await;
    toy.place.drained().await;
    let client = async_nats::connect(&toy.place.nats_url).await.unwrap();
    let question = format!("$JS.API.STREAM.MSG.GET.{}", toy.place.name);
    let mut asked = client.subscribe(question).await.unwrap();
    client.flush().await.unwrap();
    replay(&toy.place).await;
    let all: Vec<_> = [VERSIONS].into_iter().chain(0..VERSIONS).collect();
    assert_eq!(published(&toy.place, &id).await, all);
    client.flush().await.unwrap();
    let mut questions = 0;
    while unconstrained(asked.next()).now_or_never().is_some() {
        questions += 1;
    }
    assert!(questions <= VERSIONS * QUESTIONS, "{questions}");
    toy.finish().await;
}

/// Waits until the stream has forgotten the ids of all that it holds by now.
async fn ids_are_forgotten(place: &Place, context: &jetstream::Context) {
    let probe = async || {
        let subject = format!("{}.counter.updated.probe", place.name);
        let message = PublishMessage::build().message_id("probe");
        let sent = context.send_publish(subject, message).await.unwrap();
        sent.await.unwrap()
    };
    assert!(!probe().await.duplicate);
    eventually("the stream has forgotten the ids", async || {
        !probe().await.duplicate
    })
    .await;
}

#[tokio::test]
async fn what_was_published_before_a_replay_is_not_published_behind_it() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let id = toy.create().await;
    toy.place.drained().await;
    stream(&toy.place).await.purge().await.unwrap();
    toy.update(&id).await;
    toy.place.drained().await;
    replay(&toy.place).await;
    assert_eq!(published(&toy.place, &id).await, [1, 0]);

    let client = async_nats::connect(&toy.place.nats_url).await.unwrap();
    ids_are_forgotten(&toy.place, &jetstream::new(client)).await;
    // Its mark never came.
    let events = toy.place.database().await.collection::<Document>("events");
    let unmarked = doc! { "$set": { "sent": "NO" }, "$unset": { "sentAt": 1 } };
    let second = doc! { "key": &id, "version": 1_i64 };
    events.update_one(second, unmarked).await.unwrap();
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &id).await, [1, 0]);
    toy.finish().await;
}

#[tokio::test]
async fn what_was_read_of_a_stream_says_nothing_of_the_one_that_takes_its_place() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let id = toy.create().await;
    toy.update(&id).await;
    toy.place.drained().await;
    stream(&toy.place).await.purge().await.unwrap();
    toy.update(&id).await;
    toy.place.drained().await;
    replay(&toy.place).await;
    assert_eq!(published(&toy.place, &id).await, [2, 0, 1]);

    let client = async_nats::connect(&toy.place.nats_url).await.unwrap();
    let context = jetstream::new(client);
    context.delete_stream(&toy.place.name).await.unwrap();
    for _ in 3..=4 {
        toy.update(&id).await;
        toy.place.drained().await;
    }
    ids_are_forgotten(&toy.place, &context).await;
    // It lies before the place where what was read of the other stream ended.
    let events = toy.place.database().await.collection::<Document>("events");
    let again = doc! { "$set": { "sent": "NO", "replay": true }, "$unset": { "sentAt": 1 } };
    let third = doc! { "key": &id, "version": 3_i64 };
    events.update_one(third, again).await.unwrap();
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &id).await, [3, 4]);
    toy.finish().await;
}
