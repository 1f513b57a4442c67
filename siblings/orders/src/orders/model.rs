//! An order as it comes in, as it is stored, and as it goes out: to clients and in events.

use bson::{DateTime, oid::ObjectId};
use messaging::{Event, EventType, Metadata};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use validator::Validate;

use super::tickets::Ticket;

pub(super) const CREATED: EventType = EventType::of::<OrderView<'_>>("order.created");
pub(super) const CANCELLED: EventType = EventType::of::<OrderView<'_>>("order.cancelled");

/// What a client says of an order.
#[derive(Debug, Clone, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewOrder {
    #[schema(value_type = String, required = true, pattern = "^[0-9a-fA-F]{24}$", examples("65f0a1b2c3d4e5f60718293a"))]
    #[serde(default, deserialize_with = "lenient")]
    #[validate(required(message = "ticketId must be the id of a ticket: 24 hexadecimal digits"))]
    pub(super) ticket_id: Option<ObjectId>,
}

/// A member that is an id, or `None` for anything else: the validator says what it wants.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ObjectId>, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    let id = serde_json::from_str::<String>(json.get()).ok();
    Ok(id.and_then(|id| ObjectId::parse_str(id).ok()))
}

/// Whether an order holds its ticket. One that is cancelled never will again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Created,
    Cancelled,
}

/// An order as the database holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    #[serde(rename = "_id")]
    pub(super) id: ObjectId,
    pub(super) user_id: String,
    pub(super) status: Status,
    pub(super) ticket_id: ObjectId,
    /// As the tickets' service published it: nothing is computed with it here.
    price: f64,
    pub(super) version: i64,
    pub(super) created_at: DateTime,
    pub(super) updated_at: DateTime,
}

/// An order as clients see it, and as events carry it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Order)]
pub(super) struct OrderView<'a> {
    #[schema(pattern = "^[0-9a-f]{24}$", examples("65f0a1b2c3d4e5f60718293b"))]
    id: String,
    /// Also the `ETag`, in quotes: 0, and 1 once it is cancelled.
    #[schema(minimum = 0, examples(0))]
    version: i64,
    status: Status,
    /// Whose it is; nobody else sees it.
    #[schema(examples("alice"))]
    user_id: &'a str,
    /// When it gives the ticket back by itself: never, for now.
    #[schema(required = true, format = DateTime, examples(json!(null)))]
    expires_at: Option<String>,
    ticket: OrderedTicket,
}

/// The ticket that is ordered.
#[derive(Debug, Serialize, ToSchema)]
struct OrderedTicket {
    #[schema(pattern = "^[0-9a-f]{24}$", examples("65f0a1b2c3d4e5f60718293a"))]
    id: String,
    /// As it was known here when the order was made.
    #[schema(examples(20.5))]
    price: f64,
}

impl Order {
    pub(super) fn new(
        id: ObjectId,
        ticket_id: ObjectId,
        ticket: &Ticket,
        user_id: &str,
        now: DateTime,
    ) -> Self {
        Self {
            id,
            user_id: user_id.to_owned(),
            status: Status::Created,
            ticket_id,
            price: ticket.price,
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// The order as it is to be; `None` where it is cancelled already.
    pub(super) fn cancelled(&self, now: DateTime) -> Option<Self> {
        (self.status == Status::Created).then(|| Self {
            status: Status::Cancelled,
            version: self.version + 1,
            updated_at: now,
            ..self.clone()
        })
    }

    pub(super) fn event(&self, metadata: &Metadata) -> bson::error::Result<Event> {
        let r#type = match self.status {
            Status::Created => CREATED,
            Status::Cancelled => CANCELLED,
        };
        let (metadata, key) = (metadata.clone(), self.id.to_hex());
        r#type.event(metadata, key, self.version, &self.view())
    }

    pub(super) fn view(&self) -> OrderView<'_> {
        OrderView {
            id: self.id.to_hex(),
            version: self.version,
            status: self.status,
            user_id: &self.user_id,
            expires_at: None,
            ticket: OrderedTicket {
                id: self.ticket_id.to_hex(),
                price: self.price,
            },
        }
    }
}
