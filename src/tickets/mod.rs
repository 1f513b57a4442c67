//! The domain: tickets. A sibling service replaces this folder.

mod model;
mod price;
mod reservations;
mod routes;
mod store;
mod title;

use messaging::EventType;

pub use model::{NewTicket, Ticket};
pub use price::Price;
pub use reservations::reservations;
pub use routes::routes;
pub use store::collections;

use model::{CREATED, UPDATED};

/// What the rest of the world hears of a ticket: the types of our events, and what they carry.
pub const EVENTS: &[EventType] = &[CREATED, UPDATED];
