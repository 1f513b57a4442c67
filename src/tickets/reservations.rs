//! Orders reserve tickets and give them back: what a sibling publishes, applied here exactly once.
//!
//! Only the events of one order come in order. The creation of order B may come before the cancellation of order A, which holds the
//! ticket, so a ticket keeps a queue of the orders that want it. See docs/guarantees.md.

use bson::oid::ObjectId;
use messaging::{Consumer, Outcome, Received};
use mongodb::ClientSession;
use serde::Deserialize;
use service::Context;
use utoipa::ToSchema;

use super::store;

const CREATED: &str = "order.created";
const CANCELLED: &str = "order.cancelled";

/// The members of an order that this service reads. The payload has more.
#[derive(Debug, Deserialize, ToSchema)]
struct Order {
    ticket: OrderedTicket,
}

#[derive(Debug, Deserialize, ToSchema)]
struct OrderedTicket {
    #[schema(value_type = String, pattern = "^[0-9a-fA-F]{24}$", examples("65f0a1b2c3d4e5f60718293a"))]
    id: ObjectId,
}

/// Consumes the orders' stream.
pub fn reservations() -> Consumer<Context> {
    Consumer::each_version(
        "reservations",
        "ORDERS",
        &[CREATED, CANCELLED],
        |session, context, order| Box::pin(apply(session, context, order)),
    )
}

/// Sets whose the ticket is, and announces that: both in the transaction that marks the order's event as applied.
async fn apply(
    session: &mut ClientSession,
    context: &Context,
    order: &Received<Order>,
) -> mongodb::error::Result<Outcome> {
    let Context { db, outbox, .. } = context;
    let (id, now) = (order.data.ticket.id, order.metadata.created_at);
    let is_created = order.r#type == CREATED;
    let Some(ticket) = store::find_in_transaction(db, session, id).await? else {
        // Nothing has to be given back.
        return Ok(if is_created {
            Outcome::Refused("there is no such ticket")
        } else {
            Outcome::Applied
        });
    };
    if is_created && ticket.is_full_for(&order.key) {
        // There is room when one of them is cancelled. Its own cancellation waits behind it.
        return Ok(Outcome::Again("too many orders wait for the ticket"));
    }
    let changed = if is_created {
        ticket.reserved_for(&order.key, now)
    } else {
        ticket.released_by(&order.key, now)
    };
    let Ok(changed) = changed else {
        return Ok(Outcome::Refused(
            "the ticket has the last version that there is",
        ));
    };
    let Some(changed) = changed else {
        return Ok(Outcome::Applied);
    };
    store::update(db, session, &changed).await?;
    // Whoever only joins the queue or leaves it changes nothing that others see.
    if changed.version != ticket.version {
        outbox
            .record(session, &changed.event(&order.metadata)?)
            .await?;
    }
    Ok(Outcome::Applied)
}
