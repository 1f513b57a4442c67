//! The domain: tickets. A sibling service replaces this folder.

mod model;
mod price;
mod reservations;
mod routes;
mod store;
mod title;

use messaging::EventType;
use utoipa::PartialSchema;

pub use model::{NewTicket, Ticket};
pub use price::Price;
pub use reservations::reservations;
pub use routes::routes;
pub use store::collections;

use model::{CREATED, TicketView, UPDATED};

/// What the rest of the world hears of a ticket: the types of our events, and what they carry.
pub const EVENTS: &[EventType] = &[
    EventType {
        name: CREATED,
        schema: TicketView::schema,
    },
    EventType {
        name: UPDATED,
        schema: TicketView::schema,
    },
];
