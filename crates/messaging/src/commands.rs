//! What operators ask: the subcommands of `outbox`, and in `inbox` those of `inbox`. They read the arguments, ask [`Outbox`] or
//! [`Inbox`](crate::Inbox), and print tables or JSON.

mod arguments;
mod inbox;
mod replaying;

use std::{
    io::{Write, stderr, stdout},
    time::Duration,
};

use anyhow::{bail, ensure};
use bson::oid::ObjectId;
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use db::{Db, MongoOptions, OwnerError, printable};
use serde::Serialize;
use serde_json::json;

use arguments::{limit, object_id};
pub use inbox::{InboxCommand, execute_inbox};
use replaying::Replay;

use crate::{
    EventType, GivenUp, JetStream, NatsOptions, Outbox, Retry, Status, Timing, Waiting,
    replay::{Found, Lost},
};

const NOT_PARKED: &str =
    "no event with this id is parked; `outbox list --parked` shows those that are";

/// What an operator asks of the outbox.
#[derive(Subcommand)]
pub enum OutboxCommand {
    /// How many events are unsent and parked, how old the oldest is, and which instance publishes.
    Status(Show),
    /// Unsent events, in the order in which they are published.
    List {
        /// Only those that can't be published.
        #[arg(long)]
        parked: bool,
        #[arg(long, value_name = "number", default_value_t = 50, value_parser = limit)]
        limit: i64,
        #[command(flatten)]
        show: Show,
    },
    /// Give parked events another try.
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        show: Show,
    },
    /// Give a parked event up: later events of its key go on, and consumers are told by a message without a payload.
    Skip(Skip),
    /// Publish again what the broker acknowledged and lost, as far back as events are retained.
    Replay(Replay),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The id of a parked event.
    #[arg(value_parser = object_id)]
    id: Option<ObjectId>,
    /// Every parked event.
    #[arg(long)]
    all_parked: bool,
}

#[derive(Args)]
pub struct Skip {
    /// The id of a parked event.
    #[arg(value_parser = object_id)]
    id: ObjectId,
    /// Why; it is kept.
    #[arg(long, value_name = "text", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    nats: Box<NatsOptions>,
    #[command(flatten)]
    show: Show,
}

impl Skip {
    async fn execute(self, service: &str, events: &[EventType]) -> anyhow::Result<()> {
        let Self { id, show, .. } = self;
        let outbox = show.outbox(service).await?;
        let connect = async || connected(&self.nats, service, events).await;
        let given_up = outbox.give_up(events, (id, &self.reason), connect).await?;
        let told_as = match given_up {
            GivenUp::NotParked => bail!(NOT_PARKED),
            GivenUp::InSilence => None,
            GivenUp::ToldAs(told_as) => Some(told_as),
        };
        let answer = json!({ "skipped": id.to_hex(), "toldAs": told_as });
        show.print(&answer, |_| match &told_as {
            Some(told_as) => format!("{id} is skipped; consumers are told by {told_as}"),
            None => format!("{id} is skipped; consumers are not told"),
        })
    }
}

#[derive(Args)]
pub struct Show {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mongo: MongoOptions,
}

impl Show {
    async fn outbox(&self, service: &str) -> anyhow::Result<Outbox> {
        let db = Db::connect(&self.mongo, service, db::Timing::default()).await?;
        match db.check_owner().await {
            Err(OwnerError::Foreign(foreign)) => Err(foreign.into()),
            Err(error) => bail!("{}", error.explained(&db)),
            Ok(()) => Ok(Outbox::new(&db)),
        }
    }

    fn print<T: Serialize>(
        &self,
        value: &T,
        as_text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            as_text(value)
        };
        Ok(writeln!(stdout(), "{text}")?)
    }
}

/// Does what an operator asks of the outbox of `service`, which publishes `events`.
///
/// # Errors
/// When an option can't be used, or a server can't be reached.
pub async fn execute(
    command: OutboxCommand,
    service: &str,
    events: &[EventType],
) -> anyhow::Result<()> {
    match command {
        OutboxCommand::Status(show) => {
            let status = show.outbox(service).await?.status().await?;
            show.print(&status, status_text)
        }
        OutboxCommand::List {
            parked,
            limit,
            show,
        } => {
            let waiting = show.outbox(service).await?.list(parked, limit).await?;
            show.print(&waiting, |waiting| waiting_text(waiting))
        }
        OutboxCommand::Retry {
            which: Which { id, .. },
            show,
        } => {
            let which = id.map_or(Retry::AllParked, Retry::One);
            let retried = show.outbox(service).await?.retry(which).await?;
            ensure!(retried > 0 || id.is_none(), NOT_PARKED);
            show.print(&json!({ "retried": retried }), |_| {
                format!("{retried} events are tried again")
            })
        }
        OutboxCommand::Skip(skip) => skip.execute(service, events).await,
        OutboxCommand::Replay(replay) => replay.execute(service, events).await,
    }
}

/// A connection to the stream, which has to be there soon.
async fn connected(
    nats: &NatsOptions,
    service: &str,
    events: &[EventType],
) -> anyhow::Result<JetStream> {
    let jetstream = JetStream::connect(nats, service, events, Timing::default()).await?;
    let connected = tokio::time::timeout(Duration::from_secs(5), jetstream.connected());
    if connected.await.is_err() {
        let why = jetstream.why_not_connected();
        let why = why.map(|why| format!(": {why}"));
        bail!("NATS does not answer{}", why.unwrap_or_default());
    }
    Ok(jetstream)
}

fn progress(line: std::fmt::Arguments<'_>) {
    // Nobody to tell it to is no reason to stop.
    drop(writeln!(stderr(), "{line}"));
}

fn status_text(status: &Status) -> String {
    let oldest = status.oldest_unsent_seconds;
    let oldest = oldest.map(|seconds| format!(", the oldest for {seconds:.1} s"));
    let publisher = status.publisher.as_ref().map_or_else(
        || "none".to_owned(),
        |publisher| {
            format!(
                "{}, fence {}",
                printable(&publisher.instance),
                publisher.fence
            )
        },
    );
    format!(
        "unsent     {}{}\nparked     {}\npublisher  {publisher}",
        status.unsent,
        oldest.unwrap_or_default(),
        status.parked
    )
}

fn waiting_text(waiting: &[Waiting]) -> String {
    let row = |cells: [&str; 6]| {
        let [id, key, version, r#type, created, parked] = cells.map(printable);
        format!("{id:<24}  {key:<24}  {version:>7}  {type:<24}  {created:<24}  {parked}")
    };
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let mut rows = vec![row(["id", "key", "version", "type", "created", "parked"])];
    for event in waiting {
        let parked = event.parked.as_ref().map(|parked| {
            let (at, attempts) = (or_unknown(&parked.at), parked.attempts.unwrap_or_default());
            format!("{at}, attempt {attempts}: {}", or_unknown(&parked.reason))
        });
        rows.push(row([
            &event.id,
            &or_unknown(&event.key),
            &or_unknown(&event.version.map(|version| version.to_string())),
            &or_unknown(&event.r#type),
            &or_unknown(&event.created_at),
            &parked.unwrap_or_default(),
        ]));
    }
    rows.join("\n")
}

fn found_text(found: &Found) -> String {
    let row = |lost: &Lost| {
        let (id, key) = (lost.id.to_hex(), printable(&lost.key));
        let r#type = printable(&lost.r#type);
        format!("{id}  {key:<24}  {:>7}  {}\n", lost.version, r#type)
    };
    let lost: String = found.lost.iter().map(row).collect();
    let (looked, count) = (found.checked, found.lost.len());
    format!("{lost}{looked} events were looked at, {count} were lost")
}
