//! What somebody is shown of what is put aside, and decides about it: it may have changed since.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use messaging::{Inbox, ShownLetter, SkippedVersions};
use serde_json::json;
use testbed::eventually;

use crate::{
    sent::{acknowledged, are_applied, are_aside, number, numbers, send, then},
    tally::{CONSUMER, Tally},
    toy::Place,
};

#[tokio::test]
async fn what_somebody_was_shown_is_decided_about_and_nothing_that_has_come_in_its_place() {
    let tally = Tally::start().await;
    let (place, inbox) = (&tally.place, &tally.inbox);
    let refused = |version| then("a", version, json!("refuse"));
    send(place, [refused(0), refused(1), number("b", 2)]).await;
    are_aside(place, "a", &[(0, "dead"), (1, "waiting")]).await;
    are_aside(place, "b", &[(2, "waiting")]).await;
    let skip = async |key: &str, version, waits| {
        let shown = ShownLetter { version, waits };
        let skipped = inbox.skip_shown(CONSUMER, key, shown, "x").await.unwrap();
        skipped.map(|SkippedVersions { from, to }| (from, to))
    };
    assert_eq!(skip("a", 1, true).await, None, "it is behind another");
    assert_eq!(inbox.retry(CONSUMER, "a", Some(1)).await.unwrap(), None);
    assert_eq!(inbox.retry(CONSUMER, "a", Some(0)).await.unwrap(), Some(0));
    eventually("it was asked again", async || tally.calls("a", 0) == 2).await;
    are_aside(place, "a", &[(0, "dead"), (1, "waiting")]).await;
    assert_eq!(skip("a", 0, false).await, Some((0, 0)));
    are_aside(place, "a", &[(0, "skipped"), (1, "dead")]).await;
    // Two had the same dialog before them.
    assert_eq!(skip("a", 0, false).await, None, "it is given up already");
    assert_eq!(inbox.retry(CONSUMER, "a", Some(0)).await.unwrap(), None);
    // What is missing is not the message itself.
    assert_eq!(skip("a", 1, true).await, None, "nothing is missing");
    assert_eq!(skip("b", 2, false).await, None, "it waits");
    assert_eq!(skip("b", 2, true).await, Some((0, 1)));
    assert_eq!(skip("a", 1, false).await, Some((1, 1)));
    are_applied(place, "b", [2]).await;
    tally.finish().await;
}

#[tokio::test]
async fn a_list_of_one_state_has_nothing_of_another() {
    let tally = Tally::start().await;
    let (place, inbox) = (&tally.place, &tally.inbox);
    let refused = |key| then(key, 0, json!("refuse"));
    let again = then("c", 0, json!({ "again": 1_000 }));
    send(place, [refused("a"), refused("b"), again, number("d", 1)]).await;
    for key in ["a", "b"] {
        are_aside(place, key, &[(0, "dead")]).await;
    }
    are_aside(place, "c", &[(0, "retrying")]).await;
    are_aside(place, "d", &[(1, "waiting")]).await;
    inbox.skip(CONSUMER, "b", "x").await.unwrap().unwrap();
    let listed = async |state: Option<&str>| {
        let letters = inbox.list(CONSUMER, state, 10).await.unwrap();
        let keys = letters.into_iter().filter_map(|letter| letter.key);
        keys.collect::<Vec<_>>()
    };
    for (state, key) in [
        ("dead", "a"),
        ("skipped", "b"),
        ("retrying", "c"),
        ("waiting", "d"),
    ] {
        assert_eq!(listed(Some(state)).await, [key], "{state}");
    }
    assert_eq!(listed(None).await, ["a", "c", "d"]);
    tally.finish().await;
}

#[tokio::test]
async fn what_is_shown_first_costs_what_is_shown_however_much_is_put_aside() {
    const SHOWN: usize = 3;
    let tally = Tally::start().await;
    let keys: Vec<String> = (0..40).map(|key| format!("key-{key}")).collect();
    send(&tally.place, keys.iter().map(|key| number(key, 1))).await;
    acknowledged(&tally.place).await;
    let place = tally.stop().await;
    let inbox = Inbox::new(&place.db().await);
    let database = place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let shown = inbox.first_aside(CONSUMER, SHOWN as i64).await.unwrap();
    let status = inbox.status(CONSUMER).await.unwrap();
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!((shown.len(), status.waiting), (SHOWN, 40));
    let profile = database.collection::<Document>("system.profile");
    let is_sorted = ["command.sort", "command.pipeline.1.$sort"];
    let is_sorted = is_sorted.map(|it| doc! { it: { "$exists": true } });
    let sorted = doc! { "ns": format!("{}.deadLetters", place.name), "$or": is_sorted.to_vec() };
    let asked = profile.find(sorted).await.unwrap();
    let asked: Vec<Document> = asked.try_collect().await.unwrap();
    // For three states; and for how long the oldest has waited.
    assert_eq!(asked.len(), 4, "{asked:?}");
    for asked in asked {
        assert!(asked.get("hasSortStage").is_none(), "{asked}");
        let examined = asked.get_i32("docsExamined").unwrap();
        assert!(examined as usize <= SHOWN, "{asked}");
    }
    place.remove().await;
}

#[tokio::test]
async fn a_sweep_reads_none_of_the_messages_that_wait() {
    let mut place = Place::new();
    place.timing.inbox.sweep = Duration::from_millis(300);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    let keys: Vec<String> = (0..40).map(|key| format!("key-{key}")).collect();
    send(&tally.place, keys.iter().map(|key| number(key, 1))).await;
    acknowledged(&tally.place).await;
    let database = tally.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let profile = database.collection::<Document>("system.profile");
    let looks_up = ["command.pipeline.2.$lookup", "command.pipeline.3.$lookup"];
    let looks_up = looks_up.map(|it| doc! { it: { "$exists": true } });
    let sweep = doc! { "command.aggregate": "deadLetters", "$or": looks_up.to_vec() };
    let swept = async || profile.find_one(sweep.clone()).await.unwrap();
    eventually("they are swept", async || swept().await.is_some()).await;
    let swept = swept().await.unwrap();
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    // Of each key its mark.
    assert_eq!(swept.get_i32("docsExamined").unwrap(), 40, "{swept}");
    tally.finish().await;
}
