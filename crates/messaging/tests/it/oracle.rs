//! Whatever the order in which messages are delivered, and however often: in the end all is as if they had come in order, once.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use testbed::eventually;

use crate::{
    sent::{Sent, acknowledged, applied, dead_letters, number, numbers, send},
    tally::{Tally, newest_only},
    toy::Place,
};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// How many versions each key has, and in which order they come: each once, and some again.
fn deliveries() -> impl Strategy<Value = Vec<(usize, i64)>> {
    let lengths = proptest::array::uniform4(0_i64..12);
    lengths.prop_flat_map(|lengths| {
        let versions = (0..KEYS.len())
            .flat_map(move |key| (0..lengths[key]).map(move |version| (key, version)));
        let once: Vec<_> = versions.collect();
        let again = proptest::sample::subsequence(once.clone(), 0..=once.len());
        again.prop_flat_map(move |again| Just([once.clone(), again].concat()).prop_shuffle())
    })
}

async fn deliver(place: &Place, messages: &[(usize, i64)]) {
    let sent = messages
        .iter()
        .enumerate()
        .map(|(number_of, (key, version))| Sent {
            // The stream does not take it for a copy.
            id: Some(format!("{key}-{version}-{number_of}")),
            ..number(KEYS[*key], *version)
        });
    send(place, sent).await;
}

fn newest(messages: &[(usize, i64)]) -> BTreeMap<usize, i64> {
    let mut newest = BTreeMap::new();
    for (key, version) in messages {
        let newest = newest.entry(*key).or_insert(*version);
        *newest = (*newest).max(*version);
    }
    newest
}

#[tokio::test]
async fn random_messages_in_random_order_with_duplicates_end_as_in_order() {
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..8 {
        let messages = deliveries().new_tree(&mut runner).unwrap().current();
        let place = Place::new();
        numbers(&place).await;
        let [first, second] = [
            Tally::start_at(place.clone()).await,
            Tally::start_at(place.clone()).await,
        ];
        deliver(&place, &messages).await;
        acknowledged(&place).await;
        for (key, last) in newest(&messages) {
            let wanted: Vec<_> = (0..=last).collect();
            eventually(&format!("it ends as in order: {messages:?}"), async || {
                applied(&place, KEYS[key]).await == wanted
            })
            .await;
        }
        eventually("nothing is left", async || {
            dead_letters(&place).await.is_empty()
        })
        .await;
        first.stop().await;
        second.finish().await;
    }
}

#[tokio::test]
async fn of_newest_only_the_newest_is_the_last_whatever_the_order() {
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..4 {
        let messages = deliveries().new_tree(&mut runner).unwrap().current();
        let place = Place::new();
        numbers(&place).await;
        let tally = Tally::of(place, newest_only()).await;
        deliver(&tally.place, &messages).await;
        acknowledged(&tally.place).await;
        for (key, last) in newest(&messages) {
            let applied = applied(&tally.place, KEYS[key]).await;
            assert_eq!(applied.last(), Some(&last), "{messages:?}");
            assert!(
                applied.is_sorted() && applied.windows(2).all(|two| two[0] != two[1]),
                "{applied:?}"
            );
        }
        tally.finish().await;
    }
}
