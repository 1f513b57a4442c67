//! For tests, chaos and benchmarks only: the one way to start and stop MongoDB, NATS, TCP proxies and processes, and a
//! place of its own for each test.
//!
//! It knows no crate of the product. Whatever goes wrong with the machine panics, as in a test; what a fault may fail at is
//! a `Result`.
#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong with the machine fails the test"
)]

#[cfg(feature = "http")]
mod answers;
#[cfg(feature = "asyncapi")]
mod asyncapi;
mod certificates;
#[cfg(feature = "http")]
mod client;
mod fail_point;
mod folder;
#[cfg(feature = "http")]
mod http_file;
mod image;
#[cfg(feature = "log")]
pub mod log;
mod mongo;
mod mount;
mod nats;
mod place;
mod poison;
mod ports;
mod process;
pub mod proxy;
mod shared;
#[cfg(feature = "nats")]
mod stream;
mod wait;

#[cfg(feature = "http")]
pub use answers::{assert_problem, text};
#[cfg(feature = "asyncapi")]
pub use asyncapi::check_message;
pub use certificates::Certificates;
#[cfg(feature = "http")]
pub use client::{client, start};
pub use fail_point::{at_the_next, fail, has_entered, is_held};
pub use folder::{empty, sibling, target};
#[cfg(feature = "http")]
pub use http_file::{not_asked_for, send_all};
pub use image::Image;
pub use mongo::Mongo;
pub use mount::Mount;
pub use nats::Nats;
pub use place::{Place, plant};
pub use poison::{LARGEST_DOCUMENT, poison};
pub use ports::{free_port, free_ports, local};
pub use process::{Process, program};
pub use shared::{mongo_uri, nats_url};
#[cfg(feature = "nats")]
pub use stream::stream;
pub use wait::{DEADLINE, eventually, now_seconds, within};
