//! What another service tells of its orders, and what became of that.

use serde::Serialize;

/// One event of an order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OrderEvent {
    /// Its own: events that come of it have it too.
    pub(crate) trace: String,
    pub(crate) order: String,
    /// 0 is its creation, 1 its cancellation.
    pub(crate) version: i64,
    /// The document that the order wants.
    pub(crate) document: String,
    pub(crate) began_ms: u64,
    /// Whether the stream has acknowledged it.
    pub(crate) is_acked: bool,
}

/// Up to which version the service has applied the events of an order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Mark {
    pub(crate) order: String,
    pub(crate) version: Option<i64>,
}

/// A message that a service can't apply.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PutAside {
    pub(crate) message_id: String,
    pub(crate) key: String,
    pub(crate) reason: String,
}

/// All that is known of orders.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Orders {
    pub(crate) events: Vec<OrderEvent>,
    pub(crate) marks: Vec<Mark>,
    /// Messages that a service has put aside.
    pub(crate) put_aside: Vec<PutAside>,
}
