//! What an operator does, by the commands.

use clap::Parser;
use messaging::commands::{self, OutboxCommand};

use crate::toy::{EVENTS, NAME, Place};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: OutboxCommand,
}

/// What an operator types behind `outbox`.
pub(crate) async fn outbox(place: &Place, args: &[&str]) -> anyhow::Result<()> {
    let nats = [
        "--nats-url",
        &place.nats_url,
        "--nats-stream",
        &place.name,
        "--nats-subject-prefix",
        &place.name,
    ];
    let asks_nats = ["skip", "replay"].contains(&args[0]);
    let nats: &[&str] = if asks_nats { &nats } else { &[] };
    let args = [
        &["outbox"],
        args,
        &["--json", "--mongo-uri", &place.mongo_uri],
        nats,
    ]
    .concat();
    let cli = Cli::try_parse_from(args)?;
    commands::execute(cli.command, NAME, EVENTS).await
}
