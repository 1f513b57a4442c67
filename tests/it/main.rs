//! One binary for all integration tests: against a real MongoDB replica set and a real NATS server.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod browsers;
mod commands;
mod database;
mod faults;
mod figures;
mod harness;
mod http;
mod idempotency;
mod instances;
mod limits;
mod losses;
mod metrics;
mod nats;
mod openapi;
mod operators;
mod outbox;
mod passing;
mod process;
mod replays;
mod secured;
mod servers;
mod tickets;
mod tokens;
mod traces;
