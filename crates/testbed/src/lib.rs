//! For tests, chaos and benchmarks only: the one way to start and stop MongoDB, NATS, TCP proxies and processes, and a
//! place of its own for each test.
//!
//! It knows no crate of the product. Whatever goes wrong with the machine panics, as in a test; what a fault may fail at is
//! a `Result`.
#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong with the machine fails the test"
)]

mod certificates;
mod fail_point;
mod folder;
#[cfg(feature = "log")]
pub mod log;
mod mongo;
mod nats;
mod place;
mod poison;
mod ports;
#[cfg(feature = "http")]
mod problem;
mod process;
pub mod proxy;
mod shared;
#[cfg(feature = "nats")]
mod stream;
mod wait;

pub use certificates::Certificates;
pub use fail_point::{at_the_next, fail, has_entered};
pub use folder::{empty, target};
pub use mongo::Mongo;
pub use nats::Nats;
pub use place::{Place, plant};
pub use poison::{LARGEST_DOCUMENT, poison};
pub use ports::{free_port, free_ports, local};
#[cfg(feature = "http")]
pub use problem::assert_problem;
pub use process::{Process, program};
pub use shared::{mongo_uri, nats_url};
#[cfg(feature = "nats")]
pub use stream::stream;
pub use wait::{DEADLINE, eventually, within};
