//! The transactional outbox: events are recorded in the transaction of what they announce, and published from
//! the collection afterwards. It knows nothing of what is announced.
//!
//! `event`: what is recorded. `lease`: which instance publishes. `doorbell`: says that there is something to
//! publish. `backlog`: reads what is unsent, `sweep`: publishes and marks it, `publisher`: decides when.
//! `broker`: JetStream, with `message` and `failure` for what goes there and comes back, over a
//! `connection`. `operator` and `replay`:
//! what people ask of it.

mod backlog;
mod broker;
mod connection;
mod doorbell;
mod event;
mod failure;
mod last_sequences;
mod lease;
mod message;
pub mod operator;
mod publisher;
pub mod replay;
mod sweep;
mod timing;
mod unmarked;

pub use broker::Broker;
pub use event::{Event, prepare, record};
pub use publisher::Publisher;
pub use timing::Timing;
