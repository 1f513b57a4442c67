//! What this service is made of: the domain is `src/tickets/`, everything else `crates/`.

use std::process::ExitCode;

use service::Service;

fn main() -> ExitCode {
    Service::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"), env!("CARGO_PKG_LICENSE"))
        .collections(tickets::collections)
        .routes(tickets::routes)
        .publishes(tickets::EVENTS)
        .consumes(tickets::reservations)
        .run()
}
