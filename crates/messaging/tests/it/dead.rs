//! What operators do about what is put aside, by the commands, while messages go on coming.

use std::time::Duration;

use bson::{Document, doc};
use clap::Parser;
use messaging::{
    Inbox,
    commands::{InboxCommand, execute_inbox},
};
use mongodb::Collection;
use serde_json::json;
use testbed::{Mongo, eventually, nats_url};

use crate::{
    sent::{
        acknowledged, applied, are_applied, are_aside, aside, dead_letters, number, numbers, send,
        then,
    },
    tally::{CONSUMER, Tally},
    toy::{NAME, Place},
};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: InboxCommand,
}

/// What an operator types behind `inbox`.
async fn inbox(place: &Place, args: &[&str]) -> anyhow::Result<()> {
    let args = [
        &["inbox"],
        args,
        &["--json", "--mongo-uri", &place.mongo_uri],
    ]
    .concat();
    execute_inbox(Cli::try_parse_from(args)?.command, NAME, &[CONSUMER]).await
}

async fn told(place: &Place, args: &[&str]) -> String {
    inbox(place, args).await.unwrap_err().to_string()
}

/// Messages of other keys, until the test has ended what it does.
async fn under_load<T>(place: &Place, what: impl Future<Output = T>) -> T {
    let load = async {
        for round in 0.. {
            let keys: Vec<String> = (0..10).map(|key| format!("load-{key}")).collect();
            send(place, keys.iter().map(|key| number(key, round))).await;
            // No more than one machine can apply.
            let is_applied = async || applied(place, "load-9").await.last() == Some(&round);
            eventually("the load is applied", is_applied).await;
        }
    };
    tokio::select! {
        done = what => done,
        () = load => unreachable!("it goes on for ever"),
    }
}

#[tokio::test]
async fn what_is_dead_is_tried_again_when_an_operator_says_so() {
    let tally = Tally::start().await;
    let place = &tally.place;
    send(
        place,
        [
            then("a", 0, json!({ "again": 2 })),
            then("b", 0, json!("panic")),
            number("b", 1),
        ],
    )
    .await;
    are_applied(place, "a", [0]).await;
    are_aside(place, "b", &[(0, "dead"), (1, "waiting")]).await;
    // Somebody mends what it panicked at.
    let letters = place.database().await.collection::<Document>("deadLetters");
    let payload = bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: b"{\"add\":1}".to_vec(),
    };
    let mended = doc! { "$set": { "payload": payload } };
    letters
        .update_one(doc! { "state": "dead" }, mended)
        .await
        .unwrap();
    assert!(
        told(place, &["retry", "nobody"])
            .await
            .contains("no dead letter has this key")
    );
    under_load(place, async {
        inbox(place, &["retry", "b"]).await.unwrap();
        are_applied(place, "b", 0..2).await;
    })
    .await;
    assert!(aside(place, "b").await.is_empty());
    tally.finish().await;
}

#[tokio::test]
async fn what_is_given_up_is_kept_with_its_reason_and_what_waits_behind_it_goes_on() {
    let tally = Tally::start().await;
    let place = &tally.place;
    send(
        place,
        [
            then("a", 0, json!("refuse")),
            number("a", 1),
            number("a", 2),
        ],
    )
    .await;
    send(place, [number("b", 3)]).await;
    are_aside(place, "a", &[(0, "dead"), (1, "waiting"), (2, "waiting")]).await;
    are_aside(place, "b", &[(3, "waiting")]).await;
    assert!(
        told(place, &["skip", "nobody", "--reason", "x"])
            .await
            .contains("nothing holds this key back")
    );
    under_load(place, async {
        inbox(place, &["skip", "a", "--reason", "a bad import"])
            .await
            .unwrap();
        inbox(place, &["skip", "b", "--reason", "they are lost"])
            .await
            .unwrap();
        are_applied(place, "a", [1, 2]).await;
        are_applied(place, "b", [3]).await;
    })
    .await;
    let kept = dead_letters(place).await;
    let reasons: Vec<_> = kept
        .iter()
        .map(|letter| {
            letter
                .get_document("skip")
                .unwrap()
                .get_str("reason")
                .unwrap()
        })
        .collect();
    assert_eq!(reasons, ["a bad import", "they are lost"]);
    assert!(kept[0].contains_key("payload"));
    // Of the load, something may be in work.
    eventually("nothing of it counts any more", async || {
        let status = tally.inbox.status(CONSUMER).await.unwrap();
        (status.waiting, status.retrying, status.dead) == (0, 0, 0)
    })
    .await;
    tally.finish().await;
}

#[tokio::test]
async fn all_dead_letters_are_tried_at_once_while_messages_come() {
    let tally = Tally::start().await;
    let place = &tally.place;
    let keys: Vec<String> = (0..8).map(|key| format!("key-{key}")).collect();
    send(place, keys.iter().map(|key| then(key, 0, json!("refuse")))).await;
    send(place, keys.iter().map(|key| number(key, 1))).await;
    eventually("they are dead", async || {
        tally.inbox.status(CONSUMER).await.unwrap().dead == 8
    })
    .await;
    under_load(place, async {
        inbox(place, &["retry", "--all-dead"]).await.unwrap();
        eventually("each was asked again", async || {
            keys.iter().all(|key| tally.calls(key, 0) == 2)
        })
        .await;
        eventually("they are dead again", async || {
            tally.inbox.status(CONSUMER).await.unwrap().dead == 8
        })
        .await;
        for key in &keys {
            inbox(place, &["skip", key, "--reason", "x"]).await.unwrap();
        }
        for key in &keys {
            eventually("what waited is applied", async || {
                applied(place, key).await == [1]
            })
            .await;
        }
    })
    .await;
    tally.finish().await;
}

#[tokio::test]
async fn what_is_given_up_while_another_retries_it_stays_given_up() {
    let tally = Tally::start().await;
    send(&tally.place, [then("a", 0, json!("refuse"))]).await;
    are_aside(&tally.place, "a", &[(0, "dead")]).await;
    let database = tally.place.database().await;
    let letters = database.collection::<Document>("deadLetters");
    // As `skip` does, but that it waits before it commits.
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let skip = letters.update_one(doc! {}, doc! { "$set": { "state": "skipped" } });
    skip.session(&mut session).await.unwrap();
    let inbox = tally.inbox.clone();
    let retries = async move { inbox.retry(CONSUMER, "a", None).await };
    let retried = tokio::spawn(retries);
    meets_a_conflict(&letters).await;
    session.commit_transaction().await.unwrap();
    assert_eq!(retried.await.unwrap().unwrap(), None);
    are_aside(&tally.place, "a", &[(0, "skipped")]).await;
    tally.finish().await;
}

/// Waits until a command at this collection meets what a transaction has written.
async fn meets_a_conflict(at: &Collection<Document>) {
    let admin = at.client().database("admin");
    let meets = doc! { "ns": at.namespace().to_string(), "writeConflicts": { "$gt": 0 } };
    let meets = [doc! { "$currentOp": {} }, doc! { "$match": meets }];
    eventually("a command meets a conflict", async || {
        let mut found = admin.aggregate(meets.clone()).await.unwrap();
        found.advance().await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_without_a_key_is_given_up_by_its_place_in_the_stream() {
    let tally = Tally::start().await;
    let place = &tally.place;
    let subject = format!("{}.number.added.a", place.name);
    crate::sent::publish(place, subject, async_nats::HeaderMap::new(), "{}").await;
    eventually("it is dead", async || dead_letters(place).await.len() == 1).await;
    assert!(
        told(place, &["skip", "--sequence", "9", "--reason", "x"])
            .await
            .contains("has this sequence")
    );
    inbox(place, &["skip", "--sequence", "1", "--reason", "x"])
        .await
        .unwrap();
    assert_eq!(tally.inbox.status(CONSUMER).await.unwrap().dead, 0);
    tally.finish().await;
}

#[tokio::test]
async fn consuming_and_every_command_go_by_an_index() {
    let mut mongo = Mongo::absent();
    mongo.args.extend(["--notablescan".into()]);
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    place.timing.inbox.sweep = Duration::from_millis(200);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    let place = &tally.place;
    send(
        place,
        [
            then("a", 0, json!("refuse")),
            number("a", 1),
            then("b", 0, json!({ "again": 3 })),
            number("c", 2),
        ],
    )
    .await;
    are_applied(place, "b", [0]).await;
    are_aside(place, "a", &[(0, "dead"), (1, "waiting")]).await;
    are_aside(place, "c", &[(2, "waiting")]).await;
    for command in [
        &["status"][..],
        &["list"],
        &["list", "--state", "dead", "--limit", "1"],
        &["retry", "a"],
        &["retry", "--all-dead"],
        &["skip", "c", "--reason", "x"],
    ] {
        inbox(place, command).await.unwrap();
    }
    are_applied(place, "c", [2]).await;
    assert!(
        messaging::read_inbox_figures(&Inbox::new(&place.db().await), &[CONSUMER])
            .await
            .is_some()
    );
    acknowledged(place).await;
    tally.stop().await;
}
