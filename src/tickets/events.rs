//! What the rest of the world hears of a ticket.

use bson::{oid::ObjectId, serialize_to_raw_document_buf};
use messaging::Event;

use super::model::Ticket;

/// The event of what the ticket has become; its first version is its creation. `id` is made outside the transaction.
pub(super) fn saved(
    ticket: &Ticket,
    id: ObjectId,
    traceparent: Option<&str>,
) -> bson::error::Result<Event> {
    let r#type = if ticket.version == 0 {
        "ticket.created"
    } else {
        "ticket.updated"
    };
    Ok(Event::new(
        (id, ticket.updated_at),
        r#type,
        ticket.id.to_hex(),
        ticket.version,
        serialize_to_raw_document_buf(&ticket.view())?,
        traceparent.map(str::to_owned),
    ))
}
