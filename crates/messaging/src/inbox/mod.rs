//! The inbox: each message of a stream is applied once, whatever crashes. [`Consumer`] says what is consumed and by which handler,
//! [`Subscriber`] applies it, [`Inbox`] has every query on what is applied and on what could not be.

mod apply;
mod applying;
mod consumer;
mod database;
mod dead_letters;
mod envelope;
mod feed;
mod in_hand;
mod item;
mod lanes;
mod looks;
mod marks;
mod message;
mod overflow;
mod place;
mod subscriber;
mod tallies;
mod timing;
mod turn;
mod usable;
mod verdicts;

pub(crate) use consumer::Order;
pub use consumer::{Consumer, Outcome, Received};
pub use dead_letters::{DeadLetter, InboxStatus, ShownLetter, SkippedVersions, read_inbox_figures};
pub use marks::Inbox;
pub(crate) use message::{Message, are_readable, written};
pub use subscriber::Subscriber;
pub use timing::InboxTiming;
