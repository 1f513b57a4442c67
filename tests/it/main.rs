//! One binary for all integration tests: against a real MongoDB replica set and a real NATS server.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

mod alerts;
mod asyncapi;
mod atomic;
mod collector;
mod collectors;
mod command_line;
mod commands;
mod consuming;
mod contention;
mod costs;
mod counters;
mod dashboard;
mod documents;
mod dotenv_script;
mod faults;
mod figures;
mod harness;
mod http_file;
mod idempotency;
mod inputs;
mod instances;
mod lifecycle;
mod lists;
mod log_lines;
mod logins;
mod logs;
mod metrics;
mod new_service;
mod openapi;
mod operations;
mod operators;
mod orders;
mod patches;
mod permissions;
mod pictures;
mod process;
mod proxies;
mod queues;
mod release_before;
mod replays;
mod reservations;
mod reservations_killed;
mod retention;
mod retries;
mod rights;
mod rolling;
mod secrets;
mod settings;
mod shells;
mod spans;
mod stops;
mod take_over;
mod tickets;
mod timing;
mod traces;
mod upgrades;
