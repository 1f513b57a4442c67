//! What the rest of the world hears of a ticket.

use bson::serialize_to_document;

use super::model::Ticket;
use crate::outbox::Event;

pub(super) fn created(ticket: &Ticket, traceparent: Option<String>) -> bson::error::Result<Event> {
    event("ticket.created", ticket, traceparent)
}

pub(super) fn updated(ticket: &Ticket, traceparent: Option<String>) -> bson::error::Result<Event> {
    event("ticket.updated", ticket, traceparent)
}

fn event(r#type: &str, ticket: &Ticket, traceparent: Option<String>) -> bson::error::Result<Event> {
    let data = serialize_to_document(&ticket.view())?;
    Ok(Event::new(
        r#type,
        ticket.id.to_hex(),
        ticket.version,
        data,
        traceparent,
    ))
}
