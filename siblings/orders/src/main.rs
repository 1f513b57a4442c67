//! What this service is made of: the domain is `src/orders/`, everything else `crates/`.

use std::process::ExitCode;

use service::Service;

fn main() -> ExitCode {
    Service::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"), env!("CARGO_PKG_LICENSE"))
        .ports(3001, 9091)
        .options::<orders::Options>()
        .problems(orders::PROBLEMS)
        .collections(orders::collections)
        .routes(orders::routes)
        .publishes(orders::EVENTS)
        .consumes(orders::tickets)
        .run()
}
