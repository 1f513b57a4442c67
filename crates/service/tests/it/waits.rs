//! Collections and their indexes: they are waited for at the start, and come back when they are dropped.

use std::{collections::BTreeMap, time::Duration};

use bson::{Document, doc};
use service::Timing;
use testbed::{Place, at_the_next, eventually, fail};

use crate::toy::{Toy, hangs, own_mongo};

#[tokio::test]
async fn collections_that_hang_in_the_making_are_made_anew() {
    let (_mongo, place) = own_mongo().await;
    let timing = Timing {
        prepare_limit: Duration::from_millis(500),
        // What hangs never ends.
        drain: Duration::from_secs(1),
        ..Timing::default()
    };
    at_the_next(&place, "create", hangs()).await;
    let toy = Toy::of_counters(place, timing).await;
    toy.create().await;
    toy.finish().await;
}

#[tokio::test]
async fn the_pauses_before_collections_are_made_anew_stop_growing() {
    const MORE_THAN_DOUBLED_PAUSES_ALLOW: i32 = 16;
    let (_mongo, place) = own_mongo().await;
    let timing = Timing {
        prepare_again: Duration::from_millis(10),
        longest_prepare_again: Duration::from_millis(50),
        ..Timing::default()
    };
    let mode = doc! { "times": MORE_THAN_DOUBLED_PAUSES_ALLOW };
    fail(&place, mode, "create", doc! { "errorCode": 2 }).await;
    let toy = Toy::of_counters(place, timing).await;
    toy.create().await;
    toy.finish().await;
}

#[tokio::test]
async fn a_request_of_the_first_moment_waits_until_the_database_is_prepared() {
    let (_mongo, place) = own_mongo().await;
    let a_second = doc! { "blockConnection": true, "blockTimeMS": 1_000 };
    at_the_next(&place, "create", a_second).await;
    let toy = Toy::begin_with_counters(place, Timing::default()).await;
    assert_eq!(toy.get("/health/ready").await.status(), 503);
    assert_eq!(toy.post().await.status(), 201);
    toy.finish().await;
}

#[tokio::test]
async fn a_request_that_has_waited_for_the_database_long_enough_is_refused() {
    let (_mongo, place) = own_mongo().await;
    let timing = Timing {
        first_requests_wait: Duration::from_millis(100),
        drain: Duration::from_secs(1),
        ..Timing::default()
    };
    at_the_next(&place, "create", hangs()).await;
    let toy = Toy::begin_with_counters(place, timing).await;
    assert_eq!(toy.post().await.status(), 503);
    toy.ask_to_stop();
    toy.running.await.unwrap().unwrap();
}

/// The keys of each collection's indexes.
async fn indexes(place: &Place) -> BTreeMap<String, Vec<String>> {
    let database = place.database().await;
    let mut indexes = BTreeMap::new();
    for collection in database.list_collection_names().await.unwrap() {
        let of_one = database.collection::<Document>(&collection);
        let mut names = of_one.list_index_names().await.unwrap_or_default();
        names.sort();
        indexes.insert(collection, names);
    }
    indexes
}

#[tokio::test]
async fn a_database_or_collection_that_is_dropped_comes_back_with_all_its_indexes() {
    let timing = Timing {
        prepare_interval: Duration::from_millis(100),
        ..Timing::default()
    };
    let toy = Toy::of_counters(Place::shared(), timing).await;
    toy.create().await;
    toy.place.drained().await;
    let before = indexes(&toy.place).await;
    assert!(
        before["counters"].contains(&"value_1".to_owned()),
        "{before:?}"
    );
    let database = toy.place.database().await;
    for dropped in before.keys() {
        database
            .collection::<Document>(dropped)
            .drop()
            .await
            .unwrap();
        eventually("it is back", async || indexes(&toy.place).await == before).await;
    }
    database.drop().await.unwrap();
    eventually("all is back", async || indexes(&toy.place).await == before).await;
    toy.create().await;
    toy.finish().await;
}
