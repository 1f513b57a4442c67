//! One binary for all integration tests: against a real MongoDB replica set and a real NATS server.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod atomic;
mod both;
mod conditions;
mod contention;
mod documents;
mod harness;
mod orders;
mod published;
mod replica;
