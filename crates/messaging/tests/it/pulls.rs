//! A consumer that is there and can't be pulled from: it is told, and tried again after growing pauses.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use testbed::{Nats, eventually, mongo_uri};

use crate::{
    counters::Counters,
    log::Log,
    rights::Configured,
    sent::{acknowledged, are_applied, number, numbers, send},
    tally::Tally,
    toy::Place,
};

const MISSING: &str = "inbox_stream_missing{consumer=\"tally\"}";
const LINE: &str = "the stream's consumer cannot be used; it is waited for";

#[tokio::test]
async fn a_pull_asks_for_no_more_than_the_server_allows() {
    let nats = Configured::start("jetstream { limits { max_request_batch: 100 } }").await;
    let place = Place::at(&mongo_uri(), &nats.nats.url());
    numbers(&place).await;
    let keys: Vec<String> = (0..250).map(|key| format!("key-{key}")).collect();
    send(&place, keys.iter().map(|key| number(key, 0))).await;
    let (log, _guard) = Log::capture();
    let tally = Tally::start_at(place).await;
    are_applied(&tally.place, "key-249", [0]).await;
    acknowledged(&tally.place).await;
    assert_eq!(log.lines_with(LINE), [""; 0]);
    tally.finish().await;
}

/// As where a consumer has no leader: nobody answers pulls.
#[tokio::test]
async fn a_consumer_that_cannot_be_pulled_from_is_told_once_and_tried_after_growing_pauses() {
    const ATTEMPTS_IN_A_MINUTE: usize = 25;
    let pulls = "$JS.API.CONSUMER.MSG.NEXT.>";
    let to = |subject: &str| format!("mappings: {{ \"{pulls}\": \"{subject}\" }}");
    let nats = Configured::start(&to("nowhere.>")).await;
    let place = Place::at(&mongo_uri(), &nats.nats.url());
    numbers(&place).await;
    let client = async_nats::connect(nats.nats.url()).await.unwrap();
    let opened = client.subscribe("$JS.API.CONSUMER.CREATE.>").await;
    let mut opened = opened.unwrap();
    client.flush().await.unwrap();
    let (counters, (log, _guard)) = (Counters::start(), Log::capture());
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 0)]).await;
    log.told(LINE).await;
    assert_eq!(counters.count(MISSING), 1);
    nats.change(&to(pulls)).await;
    are_applied(&tally.place, "a", [0]).await;
    assert_eq!(counters.count(MISSING), 0);
    assert_eq!(log.lines_with(LINE).len(), 1);
    client.flush().await.unwrap();
    let mut attempts = 0;
    while opened.next().now_or_never().is_some() {
        attempts += 1;
    }
    assert!((2..ATTEMPTS_IN_A_MINUTE).contains(&attempts), "{attempts}");
    tally.finish().await;
}

#[tokio::test]
async fn pulls_that_nats_denies_are_told_with_what_it_denies() {
    let users = |denied: &str| {
        let user = "user: a, password: a, permissions: { publish: { deny: [";
        format!(
            "authorization {{ users: [ {{ {user}{denied}] }} }} }}, {{ user: b, password: b }} ] }}, no_auth_user: b"
        )
    };
    let nats = Configured::start(&users("\"$JS.API.CONSUMER.MSG.NEXT.>\"")).await;
    let mut place = nats.place("a");
    place.timing.inbox.pull = Duration::from_secs(1);
    place.timing.inbox.heartbeat = Duration::from_millis(300);
    let mut ours = place.clone();
    ours.nats_url = nats.nats.url();
    numbers(&ours).await;
    send(&ours, [number("a", 0)]).await;
    let (counters, (log, _guard)) = (Counters::start(), Log::capture());
    let tally = Tally::start_at(place).await;
    let told = log.told(LINE).await;
    assert!(told.contains("CONSUMER.MSG.NEXT"), "{told}");
    assert_eq!(counters.count(MISSING), 1);
    nats.change(&users("")).await;
    are_applied(&tally.place, "a", [0]).await;
    assert_eq!(counters.count(MISSING), 0);
    tally.stop().await;
    ours.remove().await;
}

#[tokio::test]
async fn while_nats_is_away_scrapers_hear_that_nothing_is_consumed() {
    let mut nats = Nats::absent();
    nats.start().await;
    let place = Place::at(&mongo_uri(), &nats.url());
    numbers(&place).await;
    let counters = Counters::start();
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    assert_eq!(counters.count(MISSING), 0);
    nats.kill();
    eventually("it is told", async || counters.count(MISSING) == 1).await;
    nats.start().await;
    send(&tally.place, [number("a", 1)]).await;
    are_applied(&tally.place, "a", 0..2).await;
    assert_eq!(counters.count(MISSING), 0);
    tally.finish().await;
}
