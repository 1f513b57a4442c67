//! One binary for the database's tests: on a real MongoDB replica set.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod database;
mod pages;
mod reasons;

use testbed::log;
