//! The domain: notes.

mod model;
mod routes;
mod store;

use messaging::EventType;

pub use routes::routes;
pub use store::collections;

use model::{CREATED, UPDATED};

/// What the rest of the world hears of a note: the types of our events, and what they carry.
pub const EVENTS: &[EventType] = &[CREATED, UPDATED];
