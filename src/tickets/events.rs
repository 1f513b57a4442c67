//! What the rest of the world hears of a ticket.

use bson::{oid::ObjectId, serialize_to_raw_document_buf};
use messaging::{Event, EventType};
use utoipa::PartialSchema;

use super::model::{Ticket, TicketView};

const CREATED: &str = "ticket.created";
const UPDATED: &str = "ticket.updated";

/// The types of our events, and what they carry.
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

/// The event of what the ticket has become; its first version is its creation. `id` is made outside the transaction.
pub(super) fn saved(
    ticket: &Ticket,
    id: ObjectId,
    traceparent: Option<&str>,
) -> bson::error::Result<Event> {
    Ok(Event::new(
        (id, ticket.updated_at),
        if ticket.version == 0 {
            CREATED
        } else {
            UPDATED
        },
        ticket.id.to_hex(),
        ticket.version,
        serialize_to_raw_document_buf(&ticket.view())?,
        traceparent.map(str::to_owned),
    ))
}
