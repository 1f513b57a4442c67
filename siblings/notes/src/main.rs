//! What this service is made of: the domain is `src/notes/`, everything else `crates/`.

use std::process::ExitCode;

use service::Service;

fn main() -> ExitCode {
    Service::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"), env!("CARGO_PKG_LICENSE"))
        .ports(3002, 9092)
        .collections(notes::collections)
        .routes(notes::routes)
        .publishes(notes::EVENTS)
        .run()
}
