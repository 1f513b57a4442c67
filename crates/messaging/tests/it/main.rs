//! One binary for the outbox's tests: a toy domain without HTTP, a real MongoDB replica set and a real NATS server.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod again;
mod away;
mod bases;
mod clocks;
mod conflicts;
mod counters;
mod credentials;
mod database;
mod dead;
mod doubles;
mod failures;
mod figures;
mod forgeries;
mod gaps;
mod handlers;
mod hostile;
mod inbox;
mod instances;
mod interrupted;
mod losses;
mod nats;
mod operations;
mod operator;
mod oracle;
mod outbox;
mod passing;
mod place;
mod poison;
mod publisher;
mod pulls;
mod reasons;
mod refusals;
mod replays;
mod rest;
mod rights;
mod scans;
mod secured;
mod sent;
mod shown;
mod skips;
mod slow;
mod status;
mod stops;
mod streams;
mod tally;
mod timing;
mod toy;
mod traces;
mod turns;
mod waits;
mod watch;

use testbed::log;
