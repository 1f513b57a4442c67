//! A publisher that waits for something is not busy with it.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use messaging::Outbox;
use testbed::{Mongo, Nats, at_the_next, eventually, fail, mongo_uri, nats_url};
use tokio::runtime::Handle;

use crate::{
    log::Log,
    refusals::allow,
    toy::{Place, Toy, unsent},
};

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_secs(3600);

/// The share of its time in which this test's thread, on which all of its tasks run, has something to do.
pub(crate) async fn busy<T>(until: impl Future<Output = T>) -> f64 {
    let until = pin!(until);
    let metrics = Handle::current().metrics();
    let (began, before) = (Instant::now(), metrics.worker_total_busy_duration(0));
    until.await;
    let busy = metrics.worker_total_busy_duration(0) - before;
    busy.as_secs_f64() / began.elapsed().as_secs_f64()
}

/// For as long as three renewals of the lease take.
async fn rests(toy: &Toy) {
    let leases = toy.place.database().await.collection::<Document>("leases");
    let expires = async || {
        let lease = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
        let lease = lease.unwrap();
        lease.get_datetime("expiresAt").unwrap().timestamp_millis()
    };
    let first = expires().await;
    let share = busy(eventually("it renews its lease", async || {
        expires().await > first + 2_000
    }))
    .await;
    assert!(share < 0.5, "it is busy: {share}");
}

#[tokio::test]
async fn a_publisher_that_waits_for_events_for_nats_or_for_a_key_does_nothing_else() {
    let (log, _guard) = Log::capture();
    let mut nats = Nats::absent();
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    place.timing.first_retry = NEVER;
    place.timing.longest_key_retry = NEVER;
    place.timing.safety_interval = NEVER;
    // Where nobody reads, nothing has stalled.
    place.timing.sweep_stalled_after = Duration::from_secs(1);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    rests(&toy).await;
    allow(&toy.place, 1).await;
    toy.create().await;
    log.told("its key waits").await;
    rests(&toy).await;
    nats.kill();
    eventually("it is not connected", async || !toy.is_connected_to_nats()).await;
    toy.create().await;
    unsent(&toy, 2).await;
    rests(&toy).await;
    assert_eq!(log.lines_with("cannot read the events"), [""; 0]);
    nats.start().await;
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn a_sweep_that_is_slow_is_not_waited_for_busily_and_one_that_failed_is_not_repeated_at_once()
{
    let (log, _guard) = Log::capture();
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    place.timing.first_retry = NEVER;
    place.timing.longest_retry = NEVER;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    let of_events = |mut what: Document| {
        what.insert("namespace", format!("{}.events", toy.place.name));
        what
    };
    let slow = of_events(doc! { "blockConnection": true, "blockTimeMS": 1_500 });
    at_the_next(&toy.place, "find", slow).await;
    toy.create().await;
    let outbox = Outbox::new(&toy.place.db().await);
    let share = busy(eventually("it is published", async || {
        outbox.status().await.unwrap().unsent == 0
    }))
    .await;
    assert!(share < 0.5, "it is busy: {share}");
    let fails = of_events(doc! { "errorCode": 2 });
    fail(&toy.place, "alwaysOn", "find", fails).await;
    toy.create().await;
    log.told("cannot read the events").await;
    rests(&toy).await;
    assert_eq!(log.lines_with("cannot read the events").len(), 1);
    fail(&toy.place, "off", "find", doc! {}).await;
    toy.stop().await.remove().await;
}
