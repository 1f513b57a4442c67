//! Why an order is not made or not cancelled, and how a client is told.

use axum::http::StatusCode;
use db::Abort;
use web::{Kind, Refusal};

/// The kinds of problems that only orders have: a client does another thing about each.
pub const PROBLEMS: &[Kind] = &[NO_SUCH_TICKET, TICKET_RESERVED, TOO_MANY_ORDERS];

const NO_SUCH_TICKET: Kind = Kind {
    r#type: "/problems/no-such-ticket",
    title: "The ticket is not known here",
    status: StatusCode::NOT_FOUND,
    description: "This service hears of a ticket a moment after it is created, and later while NATS is down. If the ticket exists, send the order again.",
};
const TICKET_RESERVED: Kind = Kind {
    r#type: "/problems/ticket-reserved",
    title: "An order holds the ticket",
    status: StatusCode::CONFLICT,
    description: "Your own order may be the one: GET /api/orders shows it. Else the ticket is free again when that order is cancelled.",
};
const TOO_MANY_ORDERS: Kind = Kind {
    r#type: "/problems/too-many-orders",
    title: "The user has too many active orders",
    status: StatusCode::CONFLICT,
    description: "Cancel one of them first, whichever ticket is to be ordered.",
};

#[derive(Debug)]
pub(super) enum OrderRefusal {
    /// No order of this user has the id.
    NotFound,
    NoSuchTicket,
    TicketReserved,
    TooManyOrders,
    AnotherVersion,
}

impl From<OrderRefusal> for Abort<OrderRefusal> {
    fn from(why: OrderRefusal) -> Self {
        Self::Refused(why)
    }
}

impl From<OrderRefusal> for Refusal {
    fn from(why: OrderRefusal) -> Self {
        match why {
            OrderRefusal::NotFound => Self::NotFound,
            OrderRefusal::NoSuchTicket => {
                Self::Own(NO_SUCH_TICKET, "no ticket of this id is known here")
            }
            OrderRefusal::TicketReserved => Self::Own(TICKET_RESERVED, "an order holds the ticket"),
            OrderRefusal::TooManyOrders => Self::Own(TOO_MANY_ORDERS, "cancel one of yours first"),
            OrderRefusal::AnotherVersion => Self::PreconditionFailed,
        }
    }
}
