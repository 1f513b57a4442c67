//! What is waited for at the start: collections that hang in the making, or fail to be made.

use std::time::Duration;

use bson::doc;
use service::Timing;
use testbed::{at_the_next, fail};

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
