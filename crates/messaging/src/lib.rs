//! The transactional outbox and inbox between MongoDB and NATS JetStream: events are recorded in the transaction of what they announce, and
//! published from the collection afterwards; messages are applied in the transaction that marks them as applied. It knows nothing of what
//! is announced, and no HTTP.
//!
//! [`Event`] is what is recorded, [`Outbox`] has every query on the collection, [`Publisher`] publishes what is unsent to
//! [`JetStream`]. [`Consumer`] is what is consumed, [`Inbox`] has every query on what was, [`Subscriber`] applies it. [`replay`] and
//! [`commands`] are what people ask of both, and [`asyncapi`] what machines do.

pub mod asyncapi;
pub mod commands;
mod event;
mod inbox;
mod jetstream;
mod lease;
mod metrics;
mod options;
mod outbox;
mod pauses;
mod publisher;
mod recent;
pub mod replay;
mod status;
mod stored;
mod timing;
mod told;

pub use event::{Event, EventType, Metadata, Sent};
pub use inbox::{
    Consumer, DeadLetter, Inbox, InboxStatus, InboxTiming, Outcome, Received, ShownLetter,
    SkippedVersions, Subscriber, read_inbox_figures,
};
pub use jetstream::JetStream;
pub use lease::instance;
pub use metrics::describe;
pub use options::{EventOptions, NatsAccess, NatsOptions, stream_name};
pub use outbox::{GivenUp, Outbox, ParkedEvent, Retry, read_figures};
pub use publisher::Publisher;
pub use recent::{AppliedMessage, ConsumerLag, MOST_RECENT, Recent, RecentEvent, Tally};
pub use status::{PublishingInstance, Status, Waiting, WhyParked};
pub use timing::Timing;
