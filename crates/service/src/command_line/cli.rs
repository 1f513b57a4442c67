//! What can be asked, as clap reads it.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};
use db::MongoOptions;
use messaging::{
    EventOptions, NatsOptions,
    commands::{InboxCommand, OutboxCommand},
};
use web::{HttpOptions, JwtOptions, listen_addr};

use crate::options::{AdminOptions, LogOptions, duration, user_id};

#[derive(Parser)]
#[command(
    after_help = "Configuration comes from flags, the environment and a file .env, in this order. Secrets have no flags: \
                  MONGO_URI, NATS_URL and JWT_KEY, or MONGO_URI_FILE, NATS_URL_FILE and JWT_KEY_FILE with the paths of files that hold them.",
    flatten_help = true
)]
pub(super) struct Cli<O: Args> {
    #[command(subcommand)]
    pub(super) command: Command<O>,
}

#[derive(Subcommand)]
pub(super) enum Command<O: Args> {
    /// Serve REST, publish and consume events; what is done without a command.
    Serve(Box<Serve<O>>),
    /// Only publish events.
    Publish(Box<ServerOptions>),
    /// Only consume events of others.
    Consume(Box<Consume<O>>),
    /// Look after the outbox.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Look after the inbox.
    #[command(subcommand)]
    Inbox(InboxCommand),
    /// Print the OpenAPI document.
    Openapi,
    /// Print the AsyncAPI document: what is sent and received.
    Asyncapi,
    /// Print a token for a user, signed with JWT_KEY.
    Token(Token),
    /// Ask a service on this machine whether it is ready; for images without a shell.
    Healthcheck(Healthcheck),
}

#[derive(Args)]
pub(super) struct Serve<O: Args> {
    /// Leave publishing to processes of the command `publish`.
    #[arg(long)]
    pub(super) no_publisher: bool,
    /// Leave consuming to processes of the command `consume`. With both, NATS is not connected to.
    #[arg(long)]
    pub(super) no_consumers: bool,
    #[command(flatten)]
    pub(super) http: HttpOptions,
    #[command(flatten)]
    pub(super) domain: O,
    #[command(flatten)]
    pub(super) servers: ServerOptions,
}

#[derive(Args)]
pub(super) struct Consume<O: Args> {
    #[command(flatten)]
    pub(super) domain: O,
    #[command(flatten)]
    pub(super) servers: ServerOptions,
}

/// What every process needs.
#[derive(Args)]
pub(super) struct ServerOptions {
    #[command(flatten)]
    pub(super) mongo: MongoOptions,
    #[command(flatten)]
    pub(super) events: EventOptions,
    #[command(flatten)]
    pub(super) nats: NatsOptions,
    #[command(flatten)]
    pub(super) admin: AdminOptions,
    #[command(flatten)]
    pub(super) log: LogOptions,
}

#[derive(Args)]
pub(super) struct Token {
    /// The user's id.
    #[arg(long, value_name = "id", value_parser = user_id)]
    pub(super) user: String,
    #[arg(long)]
    pub(super) email: Option<String>,
    /// How long the token is valid.
    #[arg(long, value_name = "duration", default_value = "1h", value_parser = duration)]
    pub(super) ttl: Duration,
    #[command(flatten)]
    pub(super) jwt: JwtOptions,
}

#[derive(Args)]
pub(super) struct Healthcheck {
    /// The address that the service listens on.
    #[arg(long, env, value_name = "LISTEN_ADDR", default_value = "0.0.0.0:3000", value_parser = listen_addr)]
    pub(super) listen_addr: SocketAddr,
}
