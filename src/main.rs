//! The service: what it is made of. `src/tickets/` is the domain, `crates/` is everything else.

use std::process::ExitCode;

fn main() -> ExitCode {
    tickets::service().run()
}
