//! The domain: tickets. A sibling service replaces this folder; the items below are what `app` asks of it.

mod events;
mod model;
mod pages;
mod price;
mod routes;
mod store;

pub use model::{NewTicket, Ticket};
pub use pages::Cursor;
pub use price::Price;
pub use routes::routes;
pub use store::prepare;

/// What an event's key is the id of.
pub const NOUN: &str = "ticket";
/// Every subject that this service publishes to.
pub const SUBJECTS: &str = "ticket.>";
