//! What the driver tells of its connections, and transactions of their outcome, as metrics.

use std::time::Instant;

use metrics::{counter, gauge, histogram};
use mongodb::{
    error::Result as MongoResult,
    event::{EventHandler, cmap::CmapEvent},
};

use super::is_unavailable;
use crate::{
    error::Error,
    metrics::{POOL_CONNECTIONS, POOL_FAILURES, TRANSACTION_DURATION},
};

pub(super) fn pool() -> EventHandler<CmapEvent> {
    let open = || gauge!(POOL_CONNECTIONS, "state" => "open");
    let in_use = || gauge!(POOL_CONNECTIONS, "state" => "in_use");
    EventHandler::callback(move |event| match event {
        CmapEvent::ConnectionCreated(_) => open().increment(1.0),
        CmapEvent::ConnectionClosed(_) => open().decrement(1.0),
        CmapEvent::ConnectionCheckedOut(_) => in_use().increment(1.0),
        CmapEvent::ConnectionCheckedIn(_) => in_use().decrement(1.0),
        CmapEvent::ConnectionCheckoutFailed(_) => counter!(POOL_FAILURES).increment(1),
        _ => {}
    })
}

pub(super) fn transaction<T>(began: Instant, result: &MongoResult<Result<T, Error>>) {
    let outcome = match result {
        Ok(Ok(_)) => "committed",
        Ok(Err(_)) => "refused",
        Err(error) if is_unavailable(error) => "unavailable",
        Err(_) => "failed",
    };
    histogram!(TRANSACTION_DURATION, "outcome" => outcome).record(began.elapsed());
}
