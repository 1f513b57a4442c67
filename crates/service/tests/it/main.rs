//! A process around a toy domain, on a real MongoDB and a real NATS.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod consumers;
mod decisions;
mod domains;
mod faults;
mod health;
mod letters;
mod lifecycle;
mod live;
mod looks;
mod secured;
mod stalls;
mod timing;
mod toy;
mod upgrades;
mod viewers;
mod waits;
