//! One binary for the outbox's tests: a toy domain without HTTP, a real MongoDB replica set and a real NATS server.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod outbox;
mod toy;
