//! A replica of the tickets: what their service publishes, the newest version of each.
//!
//! It is a moment behind, and further while NATS is down: it says which tickets there are, and our own orders say who holds them.

use bson::oid::ObjectId;
use messaging::{Consumer, Outcome, Received};
use mongodb::ClientSession;
use serde::{Deserialize, Serialize};
use service::Context;
use utoipa::ToSchema;

use super::{options::Options, store};

/// The members of a ticket that this service reads. The payload has more.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ticket {
    pub(super) price: f64,
    /// The order that holds it, at the tickets' service.
    pub(super) order_id: Option<String>,
}

/// Consumes the tickets' stream.
pub fn tickets() -> Consumer<Context<Options>> {
    Consumer::newest_only(
        "tickets",
        "TICKETS",
        &["ticket.created", "ticket.updated"],
        |session, context, ticket| Box::pin(keep(session, context, ticket)),
    )
}

async fn keep(
    session: &mut ClientSession,
    context: &Context<Options>,
    ticket: &Received<Ticket>,
) -> mongodb::error::Result<Outcome> {
    let Ok(id) = ObjectId::parse_str(&ticket.key) else {
        return Ok(Outcome::Refused("its key is no id of a ticket"));
    };
    store::keep_ticket(&context.db, session, id, ticket).await?;
    Ok(Outcome::Applied)
}
