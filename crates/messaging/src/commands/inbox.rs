//! What operators ask of the inbox: the subcommands of `inbox`.

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use db::printable;
use serde_json::json;

use super::{Show, arguments::limit};
use crate::{DeadLetter, Inbox, InboxStatus};

/// What an operator asks of the inbox.
#[derive(Subcommand)]
pub enum InboxCommand {
    /// How many messages are put aside, of each consumer.
    Status(Show),
    /// Messages that are put aside, by key and version.
    List {
        /// Only those of this state.
        #[arg(long)]
        state: Option<State>,
        #[arg(long, value_name = "number", default_value_t = 50, value_parser = limit)]
        limit: i64,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        show: Show,
    },
    /// Let dead letters be tried again, at once.
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        show: Show,
    },
    /// Give up what holds a key back: its first dead letter, or what is missing before the first message that waits.
    Skip {
        #[command(flatten)]
        what: What,
        /// Why; it is kept.
        #[arg(long, value_name = "text", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        show: Show,
    },
}

/// The states of what is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    Waiting,
    Retrying,
    Dead,
    Skipped,
}

#[derive(Args)]
pub struct Of {
    /// The consumer. [default: the only one]
    #[arg(long, value_name = "name")]
    consumer: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The key whose first dead letter is tried.
    key: Option<String>,
    /// Every dead letter.
    #[arg(long)]
    all_dead: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// The key that is held back.
    key: Option<String>,
    /// A dead letter without a key or a version, by its place in the stream.
    #[arg(long, value_name = "number")]
    sequence: Option<i64>,
}

impl Of {
    fn consumer<'a>(&'a self, known: &[&'a str]) -> anyhow::Result<&'a str> {
        let named = self.consumer.as_deref();
        match (named, known) {
            (_, []) => bail!("this service consumes nothing"),
            (Some(named), _) if known.contains(&named) => Ok(named),
            (None, [only]) => Ok(only),
            _ => bail!("--consumer wants one of: {}", known.join(", ")),
        }
    }
}

/// Does what an operator asks of the inbox of `service`, which has these consumers.
///
/// # Errors
/// When an option can't be used, or MongoDB can't be reached.
pub async fn execute_inbox(
    command: InboxCommand,
    service: &str,
    consumers: &[&str],
) -> anyhow::Result<()> {
    match command {
        InboxCommand::Status(show) => {
            let inbox = inbox(&show, service).await?;
            let mut all = Vec::new();
            for consumer in consumers {
                all.push(inbox.status(consumer).await?);
            }
            show.print(&all, |all| status_text(all))
        }
        InboxCommand::List {
            state,
            limit,
            of,
            show,
        } => {
            let consumer = of.consumer(consumers)?;
            let state =
                state.and_then(|state| Some(state.to_possible_value()?.get_name().to_owned()));
            let inbox = inbox(&show, service).await?;
            let letters = inbox.list(consumer, state.as_deref(), limit).await?;
            show.print(&letters, |letters| letters_text(letters))
        }
        InboxCommand::Retry { which, of, show } => {
            let consumer = of.consumer(consumers)?;
            let inbox = inbox(&show, service).await?;
            let Some(key) = which.key else {
                let retried = inbox.retry_all(consumer).await?;
                return show.print(&json!({ "retried": retried }), |_| {
                    format!("{retried} messages are tried again")
                });
            };
            let version = inbox.retry(consumer, &key, None).await?.context(
                "no dead letter has this key; `inbox list --state dead` shows those that have one",
            )?;
            show.print(&json!({ "retried": 1, "version": version }), |_| {
                format!("version {version} of {} is tried again", printable(&key))
            })
        }
        InboxCommand::Skip {
            what,
            reason,
            of,
            show,
        } => {
            let consumer = of.consumer(consumers)?;
            let inbox = inbox(&show, service).await?;
            inbox.db.mark_prepared();
            skip(&inbox, consumer, &what, &reason, &show).await
        }
    }
}

async fn inbox(show: &Show, service: &str) -> anyhow::Result<Inbox> {
    Ok(Inbox::new(&show.outbox(service).await?.db))
}

async fn skip(
    inbox: &Inbox,
    consumer: &str,
    what: &What,
    reason: &str,
    show: &Show,
) -> anyhow::Result<()> {
    if let Some(sequence) = what.sequence {
        let skipped = inbox.skip_unplaced(consumer, sequence, reason).await?;
        ensure!(
            skipped,
            "no dead letter without a key or a version has this sequence"
        );
        return show.print(&json!({ "skipped": { "sequence": sequence } }), |_| {
            format!("the message {sequence} is given up")
        });
    }
    let key = what.key.as_deref().unwrap_or_default();
    let skipped = inbox.skip(consumer, key, reason).await?;
    let skipped =
        skipped.context("nothing holds this key back; `inbox list` shows what is put aside")?;
    show.print(&json!({ "skipped": skipped }), |_| {
        let (key, from, to) = (printable(key), skipped.from, skipped.to);
        if from == to {
            format!("version {to} of {key} is given up")
        } else {
            format!("versions {from} to {to} of {key} are given up")
        }
    })
}

fn status_text(all: &[InboxStatus]) -> String {
    let row = |cells: [&str; 4]| {
        let [consumer, waiting, retrying, dead] = cells;
        format!("{consumer:<24}  {waiting:<24}  {retrying:>8}  {dead:>8}")
    };
    let mut rows = vec![row(["consumer", "waiting", "retrying", "dead"])];
    for status in all {
        let oldest = status.oldest_waiting_seconds;
        let oldest = oldest.map(|seconds| format!(", the oldest for {seconds:.1} s"));
        let waiting = format!("{}{}", status.waiting, oldest.unwrap_or_default());
        let (retrying, dead) = (status.retrying.to_string(), status.dead.to_string());
        rows.push(row([&status.consumer, &waiting, &retrying, &dead]));
    }
    rows.join("\n")
}

fn letters_text(letters: &[DeadLetter]) -> String {
    let row = |cells: [&str; 7]| {
        let [key, version, state, sequence, r#type, at, reason] = cells.map(printable);
        format!(
            "{key:<24}  {version:>7}  {state:<8}  {sequence:>8}  {type:<24}  {at:<24}  {reason}"
        )
    };
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let number = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let mut rows = vec![row([
        "key", "version", "state", "sequence", "type", "at", "reason",
    ])];
    for letter in letters {
        let reason = or_unknown(&letter.reason);
        let reason = match letter.attempts.unwrap_or_default() {
            0 => reason,
            attempts => format!("attempt {attempts}: {reason}"),
        };
        rows.push(row([
            &or_unknown(&letter.key),
            &number(letter.version),
            &or_unknown(&letter.state),
            &number(letter.sequence),
            &or_unknown(&letter.r#type),
            &or_unknown(&letter.at),
            &reason,
        ]));
    }
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_a_line_for_each_consumer() {
        let status = |consumer: &str, dead| InboxStatus {
            consumer: consumer.to_owned(),
            waiting: dead,
            oldest_waiting_seconds: (dead > 0).then_some(1.5),
            retrying: 0,
            dead,
        };
        let text = status_text(&[status("invoices", 3), status("refunds", 0)]);
        let lines: Vec<_> = text.lines().skip(1).collect();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = lines.into_iter().map(words).collect();
        assert_eq!(
            lines,
            ["invoices 3, the oldest for 1.5 s 0 3", "refunds 0 0 0"]
        );
    }
}
