//! A publisher that waits for something is not busy with it.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use testbed::{Nats, eventually, mongo_uri};
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
