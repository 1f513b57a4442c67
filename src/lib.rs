//! What the service is made of. [`tickets`] is the domain, `crates/` is everything else.

pub mod tickets;

use service::Service;

/// A sibling service replaces the domain, and has its own list here.
pub fn service() -> Service {
    Service::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"), env!("CARGO_PKG_LICENSE"))
        .collections(tickets::collections)
        .routes(tickets::routes)
        .publishes(tickets::EVENTS)
}
