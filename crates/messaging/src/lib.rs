//! The transactional outbox between MongoDB and NATS JetStream: events are recorded in the transaction of what they announce, and
//! published from the collection afterwards. It knows nothing of what is announced, and no HTTP.
//!
//! [`Event`] is what is recorded, [`Outbox`] has every query on the collection, [`Publisher`] publishes what is unsent to
//! [`JetStream`]; [`replay`] and [`commands`] are what people ask of it.

pub mod commands;
mod event;
mod jetstream;
mod lease;
mod metrics;
mod options;
mod outbox;
mod pauses;
mod publisher;
pub mod replay;
mod status;
mod stored;
mod timing;
mod told;

pub use event::{Event, EventType, Metadata, Sent};
pub use jetstream::JetStream;
pub use metrics::describe;
pub use options::{EventOptions, NatsAccess, NatsOptions};
pub use outbox::{Outbox, Retry, read_figures};
pub use publisher::Publisher;
pub use status::{PublishingInstance, Status, Waiting, WhyParked};
pub use timing::Timing;
