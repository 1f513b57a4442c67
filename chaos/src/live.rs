//! A consumer of the stream that looks on all the time, past the links: what it saw must be what the stream holds at the end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures_util::StreamExt;
use testbed::within;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{clock::Clock, history::Seen, world::World};

/// A consumer that sees nothing for so long is made anew: it may have been lost with its server.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);
/// It has seen the last message by then.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);

/// When the stream was made, and how often before.
#[derive(Default)]
struct Made {
    at: Option<i128>,
    before: u32,
}

type List = Arc<Mutex<Vec<Seen>>>;

pub(crate) struct Consumer {
    seen: List,
    task: JoinHandle<()>,
}

impl Consumer {
    pub(crate) async fn start(
        world: &World,
        stream: &'static str,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let client = async_nats::connect(world.nats_urls.as_slice()).await?;
        let seen = List::default();
        let context = jetstream::new(client);
        let task = tokio::spawn(consume(context, stream, Arc::clone(&seen), clock));
        Ok(Self { seen, task })
    }

    /// All that it saw, when that reaches to the last message.
    pub(crate) async fn seen(self, last: u64) -> Vec<Seen> {
        let reached = async || {
            let seen = self.seen.lock().expect("no panic while it is held");
            let reached = seen.last().map_or(0, |seen| seen.sequence);
            (reached >= last).then_some(()).context("it lags")
        };
        // Where it does not, the checker says so.
        drop(within(CATCH_UP_LIMIT, "the consumer has seen all", reached).await);
        self.task.abort();
        std::mem::take(&mut *self.seen.lock().expect("no panic while it is held"))
    }
}

/// Goes on from the last message that it saw, whatever fails.
async fn consume(context: jetstream::Context, stream: &str, seen: List, clock: Clock) {
    let mut made = Made::default();
    loop {
        // Away, or without a leader.
        drop(consume_until_it_fails(&context, stream, &seen, clock, &mut made).await);
        sleep(PAUSE).await;
    }
}

async fn consume_until_it_fails(
    context: &jetstream::Context,
    stream: &str,
    seen: &List,
    clock: Clock,
    made: &mut Made,
) -> anyhow::Result<()> {
    let stream = context.get_stream(stream).await?;
    let created = stream.cached_info().created.unix_timestamp_nanos();
    let before = made.at.replace(created);
    if before.is_some_and(|before| before != created) {
        made.before += 1;
    }
    let number = made.before;
    let last = {
        let seen = seen.lock().expect("no panic while it is held");
        let of_this = seen.last().filter(|seen| seen.stream == number);
        of_this.map_or(0, |seen| seen.sequence)
    };
    // Not the client's ordered consumer: one that has got nothing yet begins at 1 again when it is made anew.
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: last + 1,
        },
        ack_policy: AckPolicy::None,
        inactive_threshold: Duration::from_secs(30),
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let mut delivered = 0;
    while let Ok(Some(message)) = timeout(SILENCE_LIMIT, messages.next()).await {
        let message = message?;
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        delivered += 1;
        // One that went astray is asked for again.
        anyhow::ensure!(info.consumer_sequence == delivered, "a delivery is missing");
        let id = message
            .headers
            .as_ref()
            .and_then(|it| it.get("Nats-Msg-Id"));
        let one = Seen {
            stream: number,
            sequence: info.stream_sequence,
            id: id.map(ToString::to_string),
            stored_ms: clock.ms_of(info.published.into()),
        };
        seen.lock().expect("no panic while it is held").push(one);
    }
    Ok(())
}
