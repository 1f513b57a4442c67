//! A ticket as it comes in, as it is stored, and as it goes out: to clients and in events.

use bson::{DateTime, oid::ObjectId};
use db::Abort;
use messaging::{Event, EventType, Metadata};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{
    price::{self, Price},
    title,
};

pub(super) const CREATED: EventType = EventType::of::<TicketView<'_>>("ticket.created");
pub(super) const UPDATED: EventType = EventType::of::<TicketView<'_>>("ticket.updated");

/// More orders do not wait for one ticket, whose document would grow without end.
pub(super) const MOST_WAITING_ORDERS: usize = 1_000;

/// What a client says of a ticket.
// Members of another type are `None`, so that both are told at once.
#[derive(Debug, Clone, Deserialize, Validate, ToSchema)]
pub struct NewTicket {
    /// Without control characters, and not made of invisible ones alone; spaces around it are cut off.
    #[schema(value_type = String, required = true, min_length = 1, max_length = 100, pattern = r"^(?!\s*$)[^\x00-\x1f\x7f-\x9f]+$", examples("concert"))]
    #[serde(default, deserialize_with = "title::lenient")]
    #[validate(
        required(message = "title must be a string of 1 to 100 characters, without control characters, and not invisible"),
        custom(function = title::is_fit, message = "title must be a string of 1 to 100 characters, without control characters, and not invisible")
    )]
    title: Option<String>,
    /// With at most two decimals, such as 19.99.
    // Not `multiple_of`: validators divide floats, and would refuse prices such as 19.99.
    #[schema(value_type = f64, required = true, minimum = 0.01, maximum = 1_000_000, examples(20.5))]
    #[serde(default, deserialize_with = "price::lenient")]
    #[validate(required(
        message = "price must be a number above 0 and at most 1000000, with at most two decimals"
    ))]
    price: Option<Price>,
}

impl NewTicket {
    /// Title and price.
    ///
    /// # Panics
    /// Before it was validated.
    fn parts(&self) -> (&str, Price) {
        let title = self.title.as_deref();
        title
            .zip(self.price)
            .expect("a validated ticket has a title and a price")
    }
}

/// A ticket as the database holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    pub title: String,
    pub price_cents: i64,
    pub user_id: String,
    /// Set while an order holds the ticket. Whoever sets it also counts `version` up and records an event: clients
    /// compare versions, and so do consumers.
    pub order_id: Option<String>,
    /// The orders that want the ticket while another holds it, in the order in which we heard of them. Nobody outside sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_orders: Vec<String>,
    pub version: i64,
    pub created_at: DateTime,
    pub updated_at: DateTime,
}

/// A ticket as clients see it, and as events carry it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ticket)]
pub(super) struct TicketView<'a> {
    #[schema(pattern = "^[0-9a-f]{24}$", examples("65f0a1b2c3d4e5f60718293a"))]
    id: String,
    #[schema(examples("concert"))]
    title: &'a str,
    #[schema(value_type = f64, examples(20.5))]
    price: Option<Price>,
    /// The owner, who alone may change it.
    #[schema(examples("alice"))]
    user_id: &'a str,
    /// The order that holds the ticket; it can't be changed then.
    #[schema(required = true, examples(json!(null)))]
    order_id: Option<&'a str>,
    /// Grows by one with each change; also the `ETag`, in quotes.
    #[schema(minimum = 0, examples(0))]
    version: i64,
}

/// Why a ticket is not changed.
#[derive(Debug)]
pub(super) enum TicketRefusal {
    NotFound,
    NotTheOwner,
    Reserved,
    AnotherVersion,
    /// Only somebody who writes the database by hand gets it there.
    LastVersion,
}

impl From<TicketRefusal> for Abort<TicketRefusal> {
    fn from(why: TicketRefusal) -> Self {
        Self::Refused(why)
    }
}

impl Ticket {
    /// A new ticket of `user_id`.
    pub(super) fn new(new: &NewTicket, user_id: String, now: DateTime) -> Self {
        let (title, price) = new.parts();
        Self {
            id: ObjectId::new(),
            title: title.to_owned(),
            price_cents: price.cents(),
            user_id,
            order_id: None,
            waiting_orders: Vec::new(),
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// Strangers learn nothing: the owner is asked for first.
    pub(super) fn may_be_changed_by(&self, user_id: &str) -> Result<(), TicketRefusal> {
        if self.user_id != user_id {
            return Err(TicketRefusal::NotTheOwner);
        }
        if self.order_id.is_some() {
            return Err(TicketRefusal::Reserved);
        }
        Ok(())
    }

    /// The ticket as it is to be; `None` where nothing changes: a version that says nothing new would make consumers wait for an
    /// event that never comes.
    pub(super) fn changed(
        &self,
        new: &NewTicket,
        now: DateTime,
    ) -> Result<Option<Self>, TicketRefusal> {
        let (title, price) = new.parts();
        if self.title == title && self.price_cents == price.cents() {
            return Ok(None);
        }
        Ok(Some(Self {
            title: title.to_owned(),
            price_cents: price.cents(),
            version: self.next_version()?,
            updated_at: now,
            ..self.clone()
        }))
    }

    /// Whether the queue has no place for `order`, which wants the ticket and does not wait for it yet.
    pub(super) fn is_full_for(&self, order: &str) -> bool {
        let holds = self
            .order_id
            .as_deref()
            .is_none_or(|holder| holder == order);
        !holds
            && self.waiting_orders.len() >= MOST_WAITING_ORDERS
            && !self.waiting_orders.iter().any(|waiting| waiting == order)
    }

    /// The ticket as it is to be when `order` wants it: held by it, or with it at the end of the queue; `None` where nothing changes.
    pub(super) fn reserved_for(
        &self,
        order: &str,
        now: DateTime,
    ) -> Result<Option<Self>, TicketRefusal> {
        let Some(holder) = &self.order_id else {
            return self.held_by(Some(order.to_owned()), now).map(Some);
        };
        let waits = self.waiting_orders.iter().any(|waiting| waiting == order);
        if holder == order || waits {
            return Ok(None);
        }
        let mut changed = self.clone();
        changed.waiting_orders.push(order.to_owned());
        Ok(Some(changed))
    }

    /// The ticket as it is to be when `order` wants it no more: held by the first of the queue or by nobody, or with a queue that is
    /// shorter; `None` where the order neither holds it nor waits for it.
    pub(super) fn released_by(
        &self,
        order: &str,
        now: DateTime,
    ) -> Result<Option<Self>, TicketRefusal> {
        let mut changed = self.clone();
        if self.order_id.as_deref() == Some(order) {
            let waits = !changed.waiting_orders.is_empty();
            let next = waits.then(|| changed.waiting_orders.remove(0));
            return changed.held_by(next, now).map(Some);
        }
        changed.waiting_orders.retain(|waiting| waiting != order);
        Ok((changed != *self).then_some(changed))
    }

    fn held_by(&self, order_id: Option<String>, now: DateTime) -> Result<Self, TicketRefusal> {
        Ok(Self {
            order_id,
            version: self.next_version()?,
            updated_at: now,
            ..self.clone()
        })
    }

    fn next_version(&self) -> Result<i64, TicketRefusal> {
        let next = self.version.checked_add(1);
        next.ok_or(TicketRefusal::LastVersion)
    }

    /// The event of what the ticket has become; its first version is its creation.
    pub(super) fn event(&self, metadata: &Metadata) -> bson::error::Result<Event> {
        let r#type = if self.version == 0 { CREATED } else { UPDATED };
        let (metadata, key) = (metadata.clone(), self.id.to_hex());
        r#type.event(metadata, key, self.version, &self.view())
    }

    pub(super) fn view(&self) -> TicketView<'_> {
        TicketView {
            id: self.id.to_hex(),
            title: &self.title,
            price: Price::from_cents(self.price_cents),
            user_id: &self.user_id,
            order_id: self.order_id.as_deref(),
            version: self.version,
        }
    }
}
