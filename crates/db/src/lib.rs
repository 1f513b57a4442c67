//! MongoDB for one service: the connection, and the one way to write, a transaction that no vanished client cuts short.
//! It knows neither HTTP nor NATS.
//!
//! Read [`Db`] first, then [`Db::transaction`]; [`Error`] says what a failure means.

mod access;
mod client_options;
mod connection;
mod error;
mod health;
mod metrics;
mod options;
mod owner;
mod page;
mod printable;
mod reads;
mod servers;
pub mod setting;
#[cfg(test)]
mod tests;
mod timing;
mod tls;
mod transaction;
pub mod uri;
mod writes;

pub use connection::Db;
pub use error::{
    Abort, Error, TransactionError, cause, error_code, is_duplicate_key, is_write_conflict,
};
pub use metrics::describe;
pub use options::MongoOptions;
pub use owner::{LEASES, OwnerError};
pub use page::{Page, Place, newest_first};
pub use printable::printable;
pub use timing::Timing;
pub use tls::{TlsSettings, tls_cause};
