//! What is waited for at the start: collections that hang in the making, or fail to be made.

use std::time::Duration;

use bson::{Document, doc};
use service::Timing;
use testbed::{Mongo, nats_url};

use crate::{
    harness::{Place, TestApp},
    idempotency::{at_the_next, fail},
};

/// Longer than any test lasts.
const NEVER_MS: i32 = 3_600_000;

/// A server of the test's own, because a fail point holds for all of a server.
async fn own_mongo(adjust: impl FnOnce(&mut Timing)) -> (Mongo, Place) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    // What hangs never ends.
    place.timing.drain = Duration::from_secs(1);
    adjust(&mut place.timing);
    (mongo, place)
}

fn hangs() -> Document {
    doc! { "blockConnection": true, "blockTimeMS": NEVER_MS }
}

#[tokio::test]
async fn collections_that_hang_in_the_making_are_made_anew() {
    let (_mongo, place) =
        own_mongo(|timing| timing.prepare_limit = Duration::from_millis(500)).await;
    at_the_next(&place, "create", hangs()).await;
    let app = TestApp::start_at(place).await;
    app.create().await;
    app.finish().await;
}

#[tokio::test]
async fn the_pauses_before_collections_are_made_anew_stop_growing() {
    const MORE_THAN_DOUBLED_PAUSES_ALLOW: i32 = 16;
    let (_mongo, place) = own_mongo(|timing| {
        timing.prepare_again = Duration::from_millis(10);
        timing.longest_prepare_again = Duration::from_millis(50);
    })
    .await;
    let mode = doc! { "times": MORE_THAN_DOUBLED_PAUSES_ALLOW };
    fail(&place, mode, "create", doc! { "errorCode": 2 }).await;
    let app = TestApp::start_at(place).await;
    app.create().await;
    app.finish().await;
}
