//! The lease: one instance publishes at a time. It expires on the server's clock; its holder counts on its own
//! clock, from before it asked, so that it always stops first. Who waits for it leaves a name there.

mod gave_up;

use std::time::Duration;

use bson::{DateTime, Document, doc, oid::ObjectId};
use db::{Db, LEASES, cause};
use metrics::counter;
use mongodb::options::ReturnDocument;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) use gave_up::GaveUp;

use crate::{
    PublishingInstance, Timing,
    metrics::{LEASE_CHANGES, LEASES_FORCED},
    told::Told,
};

const PUBLISHER: &str = "publisher";
/// A lease that expires in so many terms counts as expired: no holder takes it for more than one.
const IMPOSSIBLY_FAR_AHEAD: i64 = 4;

/// The right to publish.
#[derive(Clone)]
pub(crate) struct Lease {
    db: Db,
    timing: Timing,
    instance_id: ObjectId,
    valid_until: watch::Sender<Instant>,
    /// When another instance, which could publish, said last that it waits for the lease.
    waiter_named: watch::Sender<Option<Instant>>,
    lost: CancellationToken,
    released: CancellationToken,
}

/// A lease that was taken just now.
pub(crate) struct Taken {
    pub(crate) lease: Lease,
    pub(crate) renewal: AbortOnDropHandle<()>,
    /// What the holders before failed at.
    pub(crate) gave_up: GaveUp,
}

impl Lease {
    /// Takes the lease, and renews it until it is released, or lost. `None` where another instance has it, which is told
    /// that this one waits.
    pub(crate) async fn take(
        db: &Db,
        timing: Timing,
        instance_id: ObjectId,
    ) -> mongodb::error::Result<Option<Taken>> {
        let asked = Instant::now();
        let Some(document) = take(db, instance_id, timing).await? else {
            return Ok(None);
        };
        let fence = document.get_i64("fence").ok();
        tracing::info!(lease.fence = fence, "this instance publishes");
        if let Ok(until) = document.get_datetime("takenThough") {
            counter!(LEASES_FORCED).increment(1);
            tracing::error!(%until, "the lease was held until an impossible time; it was taken");
        }
        counter!(LEASE_CHANGES).increment(1);
        let lease = Self {
            db: db.clone(),
            timing,
            instance_id,
            valid_until: watch::Sender::new(valid_until(asked, timing)),
            waiter_named: watch::Sender::new(None),
            lost: CancellationToken::new(),
            released: CancellationToken::new(),
        };
        let renewal = AbortOnDropHandle::new(tokio::spawn(lease.clone().renew()));
        let gave_up = GaveUp::of(&document);
        Ok(Some(Taken {
            lease,
            renewal,
            gave_up,
        }))
    }

    /// Whether this instance may publish.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        now < *self.valid_until.borrow() && !self.lost.is_cancelled()
    }

    /// Whether another instance, which could publish, has said since then that it waits for the lease.
    pub(crate) fn somebody_waits_since(&self, then: Instant) -> bool {
        self.waiter_named.borrow().is_some_and(|named| named > then)
    }

    /// Tells of each renewal.
    pub(crate) fn renewals(&self) -> watch::Receiver<Option<Instant>> {
        self.waiter_named.subscribe()
    }

    /// Returns when another instance has it.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    async fn renew(self) {
        let mut told = Told::default();
        loop {
            tokio::select! {
                () = self.released.cancelled() => return,
                () = tokio::time::sleep(self.timing.lease_renewal) => {}
            }
            let asked = Instant::now();
            match take(&self.db, self.instance_id, self.timing).await {
                Ok(Some(lease)) => {
                    told.is_over();
                    self.valid_until
                        .send_replace(valid_until(asked, self.timing));
                    let age = age_of_name(&lease, self.timing);
                    let named = age.and_then(|age| asked.checked_sub(age));
                    self.waiter_named.send_replace(named);
                }
                Ok(None) => {
                    tracing::warn!("another instance has taken the publisher's lease");
                    return self.lost.cancel();
                }
                Err(error) => {
                    told.tell("cannot renew the publisher's lease", cause(&error));
                }
            }
        }
    }

    /// Hands it over at once, and tells what this instance failed at; not before a renewal that is under way, which would take it
    /// back.
    pub(crate) async fn release(self, renewal: AbortOnDropHandle<()>, gave_up: &GaveUp) {
        self.released.cancel();
        // It has ended, and was heard to, when the lease was lost.
        if !renewal.is_finished() {
            drop(renewal.await);
        }
        let leases = self.db.collection::<Document>(LEASES);
        let mine = doc! { "_id": PUBLISHER, "holder": self.instance_id };
        let gave_up =
            doc! { "$mergeObjects": [{ "$literal": gave_up.document() }, { "fence": "$fence" }] };
        let expired = doc! { "expiresAt": "$$NOW", "gaveUp": gave_up };
        let expire = async move {
            leases
                .update_one(mine, vec![doc! { "$set": expired }])
                .await
        };
        if let Err(error) = self.db.bounded(self.timing.lease_term, expire).await {
            let error = cause(&error);
            tracing::warn!(
                error,
                "cannot release the publisher's lease; it expires by itself"
            );
        }
    }
}

/// An instance that asked for the lease at `asked` may publish until then.
fn valid_until(asked: Instant, timing: Timing) -> Instant {
    asked + timing.lease_term - timing.lease_margin
}

/// How long ago another instance left its name, by the server's clock: the lease was renewed just now. `None` where that does not count.
fn age_of_name(lease: &Document, timing: Timing) -> Option<Duration> {
    let time = |document: &Document, name| {
        let time = document.get_datetime(name).ok();
        time.map(|time: &DateTime| time.timestamp_millis())
    };
    let left = time(lease.get_document("waiting").ok()?, "at")?;
    let now = time(lease, "expiresAt")? - milliseconds(timing.lease_term);
    let age = Duration::from_millis((now - left).unsigned_abs());
    (age <= timing.waiter_counts).then_some(age)
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Takes or renews the lease; the fence grows with each change of the holder. `None` when another has it: then a name is left.
async fn take(
    db: &Db,
    instance_id: ObjectId,
    timing: Timing,
) -> mongodb::error::Result<Option<Document>> {
    let mine = doc! { "$eq": ["$holder", instance_id] };
    let term_ms = milliseconds(timing.lease_term);
    let is_held = doc! { "$and": [
        { "$eq": [{ "$type": "$expiresAt" }, "date"] },
        { "$gt": ["$expiresAt", "$$NOW"] },
        // Another primary's clock was ahead of this one's.
        { "$lt": ["$expiresAt", { "$add": ["$$NOW", term_ms.saturating_mul(IMPOSSIBLY_FAR_AHEAD)] }] },
    ] };
    let may = doc! { "$or": [mine.clone(), { "$not": [is_held] }] };
    let may_anew = doc! { "$and": [may.clone(), { "$not": [mine.clone()] }] };
    let is_forced = doc! { "$and": [
        may.clone(), { "$not": [mine.clone()] }, { "$eq": [{ "$type": "$expiresAt" }, "date"] }, { "$gt": ["$expiresAt", "$$NOW"] },
    ] };
    // Whatever stands there.
    let fence =
        doc! { "$convert": { "input": "$fence", "to": "long", "onError": 0_i64, "onNull": 0_i64 } };
    let next_fence = doc! { "$add": [&fence, 1_i64] };
    // A name that is young enough is not written again: then this update changes nothing, and MongoDB skips the write.
    let half_ms = milliseconds(timing.waiter_counts) / 2;
    let is_young = doc! { "$and": [
        { "$eq": [{ "$type": "$waiting.at" }, "date"] },
        { "$lt": [{ "$abs": { "$subtract": ["$$NOW", "$waiting.at"] } }, half_ms] },
    ] };
    let name = doc! { "$cond": [is_young, "$waiting", { "by": instance(), "id": instance_id, "at": "$$NOW" }] };
    let others_name =
        doc! { "$cond": [{ "$eq": ["$waiting.id", instance_id] }, "$$REMOVE", "$waiting"] };
    let update = doc! { "$set": {
        "holder": { "$cond": [may.clone(), instance_id, "$holder"] },
        "instance": { "$cond": [may.clone(), instance(), "$instance"] },
        "fence": { "$cond": [mine, fence, { "$cond": [may.clone(), next_fence, "$fence"] }] },
        "since": { "$cond": [may_anew.clone(), "$$NOW", "$since"] },
        "expiresAt": { "$cond": [may.clone(), { "$add": ["$$NOW", term_ms] }, "$expiresAt"] },
        "waiting": { "$cond": [may.clone(), others_name, name] },
        // Of the one that has it: it may not have heard that it has.
        "takenThough": { "$cond": [is_forced, "$expiresAt", { "$cond": [may_anew, "$$REMOVE", "$takenThough"] }] },
    } };
    let leases = db.collection::<Document>(LEASES);
    let asked = async move {
        leases
            .find_one_and_update(doc! { "_id": PUBLISHER }, vec![update])
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
    };
    let lease = db.bounded(timing.lease_term, asked).await?;
    let is_mine = |lease: &Document| {
        lease
            .get_object_id("holder")
            .is_ok_and(|it| it == instance_id)
    };
    Ok(lease.filter(is_mine))
}

/// This process, for people to read: `host/pid`.
pub fn instance() -> String {
    let host = gethostname::gethostname();
    format!("{}/{}", host.display(), std::process::id())
}

/// Who publishes at this moment, and the fence of its lease.
pub(crate) async fn publishing_instance(
    db: &Db,
) -> mongodb::error::Result<Option<PublishingInstance>> {
    let far_ahead = milliseconds(Timing::default().lease_term).saturating_mul(IMPOSSIBLY_FAR_AHEAD);
    let left = doc! { "$subtract": ["$expiresAt", "$$NOW"] };
    let is_valid = doc! { "$and": [{ "$gt": [&left, 0_i64] }, { "$lt": [&left, far_ahead] }] };
    let valid = doc! { "_id": PUBLISHER, "expiresAt": { "$type": "date" }, "$expr": is_valid };
    let lease = db.collection::<Document>(LEASES).find_one(valid).await?;
    Ok(lease.and_then(|lease| {
        let since = lease.get_datetime("since").ok();
        Some(PublishingInstance {
            instance: lease.get_str("instance").ok()?.to_owned(),
            fence: lease.get_i64("fence").ok()?,
            since: since.and_then(|since| since.try_to_rfc3339_string().ok()),
        })
    }))
}

#[cfg(test)]
pub(crate) mod tests;
