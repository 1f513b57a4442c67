//! The names of this crate's metrics; what the driver tells of its connections, and how transactions ended.

use std::time::Instant;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use mongodb::event::{EventHandler, cmap::CmapEvent};

use crate::error::{Error, TransactionError};

const TRANSACTION_DURATION: &str = "mongodb_transaction_duration_seconds";
pub(crate) const TRANSACTION_RETRIES: &str = "mongodb_transaction_retries_total";
const POOL_CONNECTIONS: &str = "mongodb_pool_connections";
const POOL_FAILURES: &str = "mongodb_pool_checkout_failures_total";

/// Says what each metric means, and begins those whose labels are known.
pub fn describe() {
    describe_histogram!(
        TRANSACTION_DURATION,
        "Time of a transaction with all its attempts, by outcome: committed, refused, unavailable or failed."
    );
    describe_counter!(
        TRANSACTION_RETRIES,
        "Attempts of transactions after the first."
    );
    describe_gauge!(
        POOL_CONNECTIONS,
        "Connections to MongoDB: those of requests, or those of what goes on beside them; open, or in_use of those."
    );
    describe_counter!(
        POOL_FAILURES,
        "Times that no connection to MongoDB could be had."
    );
    for (pool, state) in ["requests", "beside"]
        .into_iter()
        .flat_map(|pool| ["open", "in_use"].map(|state| (pool, state)))
    {
        gauge!(POOL_CONNECTIONS, "pool" => pool, "state" => state).set(0.0);
    }
    for name in [TRANSACTION_RETRIES, POOL_FAILURES] {
        counter!(name).absolute(0);
    }
}

pub(crate) fn pool(name: &'static str) -> EventHandler<CmapEvent> {
    let open = move || gauge!(POOL_CONNECTIONS, "pool" => name, "state" => "open");
    let in_use = move || gauge!(POOL_CONNECTIONS, "pool" => name, "state" => "in_use");
    EventHandler::callback(move |event| match event {
        CmapEvent::ConnectionCreated(_) => open().increment(1.0),
        CmapEvent::ConnectionClosed(_) => open().decrement(1.0),
        CmapEvent::ConnectionCheckedOut(_) => in_use().increment(1.0),
        CmapEvent::ConnectionCheckedIn(_) => in_use().decrement(1.0),
        CmapEvent::ConnectionCheckoutFailed(_) => counter!(POOL_FAILURES).increment(1),
        _ => {}
    })
}

pub(crate) fn transaction<T, R>(began: Instant, ended: &Result<T, TransactionError<R>>) {
    let outcome = match ended {
        Ok(_) => "committed",
        Err(TransactionError::Refused(_)) => "refused",
        Err(TransactionError::Failed(Error::Unavailable(_))) => "unavailable",
        Err(TransactionError::Failed(_)) => "failed",
    };
    histogram!(TRANSACTION_DURATION, "outcome" => outcome).record(began.elapsed());
}
