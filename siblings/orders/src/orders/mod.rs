//! The domain: orders. Each holds one ticket until it is cancelled.

mod model;
mod options;
mod refusal;
mod routes;
mod store;
mod tickets;

use messaging::EventType;

pub use options::Options;
pub use refusal::PROBLEMS;
pub use routes::routes;
pub use store::collections;
pub use tickets::tickets;

use model::{CANCELLED, CREATED};

/// What the rest of the world hears of an order: the types of our events, and what they carry.
pub const EVENTS: &[EventType] = &[CREATED, CANCELLED];
