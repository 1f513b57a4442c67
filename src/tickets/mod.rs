//! The domain: tickets. A sibling service replaces this folder.

mod events;
mod model;
mod price;
mod routes;
mod store;

pub use events::EVENTS;
pub use model::{NewTicket, Ticket};
pub use price::Price;
pub use routes::routes;
pub use store::collections;
