//! The lease: one instance publishes at a time. It expires on the server's clock; its holder counts on its own
//! clock, from before it asked, so that it always stops first.

use std::time::{Duration, Instant};

use bson::{Document, doc, oid::ObjectId};
use db::Db;
use metrics::counter;
use mongodb::options::ReturnDocument;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{Timing, metrics::LEASE_CHANGES};

const LEASES: &str = "leases";
const PUBLISHER: &str = "publisher";
/// A lease that expires in so many terms counts as expired: no holder takes it for more than one.
const IMPOSSIBLY_FAR_AHEAD: i64 = 4;

/// The right to publish.
#[derive(Clone)]
pub(super) struct Lease {
    db: Db,
    timing: Timing,
    holder: ObjectId,
    valid_until: watch::Sender<Instant>,
    lost: CancellationToken,
    released: CancellationToken,
}

impl Lease {
    /// Waits until this instance has the lease, then renews it until it is released, or lost.
    /// `None` when `served` came first.
    pub(super) async fn acquire(
        db: &Db,
        timing: Timing,
        served: &CancellationToken,
    ) -> Option<(Self, AbortOnDropHandle<()>)> {
        let holder = ObjectId::new();
        loop {
            let asked = Instant::now();
            match take(db, holder, timing.lease_term).await {
                Ok(Some(fence)) => {
                    tracing::info!(lease.fence = fence, "this instance publishes");
                    counter!(LEASE_CHANGES).increment(1);
                    let lease = Self {
                        db: db.clone(),
                        timing,
                        holder,
                        valid_until: watch::Sender::new(valid_until(asked, timing)),
                        lost: CancellationToken::new(),
                        released: CancellationToken::new(),
                    };
                    let renewal = AbortOnDropHandle::new(tokio::spawn(lease.clone().renew()));
                    return Some((lease, renewal));
                }
                Ok(None) => tracing::debug!("another instance publishes"),
                Err(error) => tracing::warn!(%error, "cannot ask for the publisher's lease"),
            }
            tokio::select! {
                () = served.cancelled() => return None,
                () = tokio::time::sleep(timing.standby_interval) => {}
            }
        }
    }

    /// Whether this instance may publish at this moment.
    pub(super) fn is_valid(&self) -> bool {
        Instant::now() < *self.valid_until.borrow() && !self.lost.is_cancelled()
    }

    /// Returns when another instance has it.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    async fn renew(self) {
        loop {
            tokio::select! {
                () = self.released.cancelled() => return,
                () = tokio::time::sleep(self.timing.lease_renewal) => {}
            }
            let asked = Instant::now();
            match take(&self.db, self.holder, self.timing.lease_term).await {
                Ok(Some(_)) => {
                    self.valid_until
                        .send_replace(valid_until(asked, self.timing));
                }
                Ok(None) => {
                    tracing::warn!("another instance has taken the publisher's lease");
                    return self.lost.cancel();
                }
                Err(error) => tracing::warn!(%error, "cannot renew the publisher's lease"),
            }
        }
    }

    /// Hands it over at once; not before a renewal that is under way, which would take it back.
    pub(super) async fn release(self, renewal: AbortOnDropHandle<()>) {
        self.released.cancel();
        // It has ended, and was heard to, when the lease was lost.
        if !renewal.is_finished() {
            drop(renewal.await);
        }
        let leases = self.db.collection::<Document>(LEASES);
        let holder = self.holder;
        let expire = async move {
            leases
                .update_one(
                    doc! { "_id": PUBLISHER, "holder": holder },
                    vec![doc! { "$set": { "expiresAt": "$$NOW" } }],
                )
                .await
        };
        if let Err(error) = self.db.bounded(self.timing.lease_term, expire).await {
            tracing::warn!(%error, "cannot release the publisher's lease; it expires by itself");
        }
    }
}

/// Until when a holder that asked at `asked` publishes.
fn valid_until(asked: Instant, timing: Timing) -> Instant {
    asked + timing.lease_term - timing.lease_margin
}

/// Takes or renews the lease. The fence grows with each change of the holder; `None` when another has it.
async fn take(db: &Db, holder: ObjectId, term: Duration) -> mongodb::error::Result<Option<i64>> {
    let mine = doc! { "$eq": ["$holder", holder] };
    let term_ms = i64::try_from(term.as_millis()).unwrap_or(i64::MAX);
    let is_held = doc! { "$and": [
        { "$eq": [{ "$type": "$expiresAt" }, "date"] },
        { "$gt": ["$expiresAt", "$$NOW"] },
        // Another primary's clock was ahead of this one's.
        { "$lt": ["$expiresAt", { "$add": ["$$NOW", term_ms.saturating_mul(IMPOSSIBLY_FAR_AHEAD)] }] },
    ] };
    let may = doc! { "$or": [mine.clone(), { "$not": [is_held] }] };
    // Whatever stands there.
    let fence =
        doc! { "$convert": { "input": "$fence", "to": "long", "onError": 0_i64, "onNull": 0_i64 } };
    let next_fence = doc! { "$add": [&fence, 1_i64] };
    // If another instance holds the lease, this update changes nothing, and MongoDB skips the write.
    let update = doc! { "$set": {
        "holder": { "$cond": [may.clone(), holder, "$holder"] },
        "instance": { "$cond": [may.clone(), instance(), "$instance"] },
        "fence": { "$cond": [mine, fence, { "$cond": [may.clone(), next_fence, "$fence"] }] },
        "expiresAt": { "$cond": [may, { "$add": ["$$NOW", term_ms] }, "$expiresAt"] },
    } };
    let leases = db.collection::<Document>(LEASES);
    let asked = async move {
        leases
            .find_one_and_update(doc! { "_id": PUBLISHER }, vec![update])
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
    };
    let lease = db.bounded(term, asked).await?;
    let ours = lease.filter(|lease| {
        lease
            .get_object_id("holder")
            .is_ok_and(|theirs| theirs == holder)
    });
    Ok(ours.and_then(|lease| lease.get_i64("fence").ok()))
}

/// Which process has it, for people to read: `host/pid`.
fn instance() -> String {
    let host = gethostname::gethostname();
    format!("{}/{}", host.display(), std::process::id())
}

/// Who publishes at this moment, and the fence of its lease.
pub(crate) async fn holder(db: &Db) -> mongodb::error::Result<Option<(String, i64)>> {
    let valid = doc! { "_id": PUBLISHER, "$expr": { "$gt": ["$expiresAt", "$$NOW"] } };
    let lease = db.collection::<Document>(LEASES).find_one(valid).await?;
    Ok(lease.and_then(|lease| {
        let instance = lease.get_str("instance").ok()?.to_owned();
        Some((instance, lease.get_i64("fence").ok()?))
    }))
}
