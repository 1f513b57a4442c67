//! `outbox replay`, step by step, and what it says meanwhile.

use std::time::Duration;

use bson::DateTime;
use clap::Args;

use super::{Show, arguments::time, connected, found_text, progress};
use crate::{
    EventType, NatsOptions, Outbox,
    replay::{self, Found, Lost, Range},
};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Args)]
pub struct Replay {
    /// Look at events that were created since then: a time such as 2026-01-31T12:00:00Z, or how long ago.
    #[arg(long, value_name = "time", value_parser = time)]
    since: DateTime,
    /// Look at events that were created before then. [default: now]
    #[arg(long, value_name = "time", value_parser = time)]
    until: Option<DateTime>,
    /// Only events of this id.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only say what is lost.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    nats: Box<NatsOptions>,
    #[command(flatten)]
    show: Show,
}

impl Replay {
    pub(super) async fn execute(self, service: &str, events: &[EventType]) -> anyhow::Result<()> {
        let range = Range {
            since: self.since,
            until: self.until.unwrap_or_else(DateTime::now),
            key: self.key,
        };
        let jetstream = connected(&self.nats, service, events).await?;
        let outbox = self.show.outbox(service).await?;
        let found = replay::find_lost(&outbox, &jetstream, &range, |sequence, last| {
            if sequence % 10_000 == 0 || sequence == last {
                progress(format_args!("read {sequence} of {last} messages"));
            }
        });
        let found = found.await?;
        if self.dry_run || found.lost.is_empty() {
            return self.show.print(&found, found_text);
        }
        // The events are there, so their collection is.
        outbox.db.mark_prepared();
        tokio::select! {
            published = publish_again(&outbox, &found) => published?,
            _ = tokio::signal::ctrl_c() => eprintln!("\nthe publisher goes on with what it was given"),
        }
        self.show.print(&found, found_text)
    }
}

/// Gives the events back as soon as the stream does not take them for copies.
async fn publish_again(outbox: &Outbox, found: &Found) -> anyhow::Result<()> {
    let is_known_for = |lost: &Lost| lost.is_known_for(found.known_for);
    let lost = found.lost.iter().cloned();
    let (known, unknown): (Vec<_>, Vec<_>) = lost.partition(|lost| !is_known_for(lost).is_zero());
    replay::give_back(outbox, &unknown).await?;
    let wait = known.iter().map(is_known_for).max();
    if let Some(wait) = wait {
        progress(format_args!(
            "the stream remembers the ids of {} events for {:?} after their publication (its duplicate window) and would take them for copies; they are given back in {} s",
            known.len(),
            found.known_for,
            wait.as_secs() + 1
        ));
        tokio::time::sleep(wait + Duration::from_secs(1)).await;
        replay::give_back(outbox, &known).await?;
    }
    published_again(outbox, &found.lost).await
}

async fn published_again(outbox: &Outbox, lost: &[Lost]) -> anyhow::Result<()> {
    let mut told = None;
    loop {
        let waiting = replay::waiting(outbox, lost).await?;
        let published = lost.len() as u64 - waiting.in_turn - waiting.held_back;
        let nobody = match outbox.status().await?.publisher {
            Some(_) => "",
            None => "; no instance publishes at this moment",
        };
        if told.replace((published, nobody)) != Some((published, nobody)) {
            progress(format_args!(
                "published {published} of {} again{nobody}",
                lost.len()
            ));
        }
        if waiting.in_turn == 0 {
            if waiting.held_back > 0 {
                progress(format_args!(
                    "{} wait until what is parked of their key is decided about: `outbox list --parked`",
                    waiting.held_back
                ));
            }
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
