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

/// All that is known of orders.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Orders {
    pub(crate) events: Vec<OrderEvent>,
    pub(crate) marks: Vec<Mark>,
    /// Events that the service has put aside: of which order, and why.
    pub(crate) put_aside: Vec<(String, String)>,
}
