//! What every service's HTTP interface does, tried on a toy domain and a real MongoDB.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod browsers;
mod caching;
mod callers;
mod claims;
mod conditions;
mod connections;
mod cookies;
mod endings;
mod hosts;
mod http;
mod http2;
mod idempotency;
mod keys;
mod limits;
mod tokens;
mod toy;
