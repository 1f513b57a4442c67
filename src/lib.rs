//! A microservice that saves a document and the event that announces it in one MongoDB transaction,
//! and publishes the event to NATS JetStream: the transactional outbox.
//!
//! Read it in this order: [`app`] puts the parts together, [`tickets`] is the domain, `db` (a crate) holds the
//! transaction, `messaging` (a crate) records events and publishes them; [`idempotency`], [`http`], [`auth`] and
//! [`error`] are what every route shares; [`metrics`] and [`telemetry`] are for those who run it. A sibling service replaces `tickets` and keeps the rest.

pub mod admin;
pub mod app;
pub mod auth;
pub mod config;
mod cross_site;
pub mod error;
pub mod http;
pub mod idempotency;
pub mod metrics;
pub mod state;
pub mod telemetry;
pub mod tickets;
