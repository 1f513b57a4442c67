//! What applies the messages of one consumer, and what goes on beside it.

use std::sync::Arc;

use metrics::gauge;
use tokio::{
    sync::{mpsc, watch},
    time::interval,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    apply::Applier, applying::Applying, consumer::Consumer, feed::Feed, in_hand::InHand,
    marks::Inbox, tallies::Tallies, turn::Worker,
};
use crate::{
    JetStream, Timing,
    jetstream::{DurableConfig, Lag},
    metrics::{LAG_MESSAGES, LAG_SECONDS, begin_consumer},
    told::Told,
};

/// Applies the messages of one consumer.
pub struct Subscriber<C> {
    pub consumer: Consumer<C>,
    /// What the handler works with.
    pub context: C,
    pub inbox: Inbox,
    /// A connection to the stream that is consumed, of the consumer's own: a message that breaks it breaks no other.
    pub jetstream: JetStream,
    /// How many consumers share the database's connections with requests, this one among them.
    pub consumers: usize,
    pub timing: Timing,
    /// Whether a collector takes traces. Without one, no spans are made.
    pub is_traced: bool,
}

impl<C: Clone + Send + Sync + 'static> Subscriber<C> {
    /// Applies messages until `stop`; then finishes what it has begun. Any number of instances may do so at once.
    ///
    /// # Errors
    /// When a task of its own panicked.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        begin_consumer(self.consumer.name);
        let timing = self.timing;
        let (consumer, stream) = (self.consumer.name, self.jetstream.clone());
        let config = DurableConfig::new(&stream, consumer, self.consumer.noun(), timing.inbox);
        let in_hand = InHand::new(&stream);
        let (opened, is_open) = watch::channel(true);
        let (fed, messages) = mpsc::unbounded_channel();
        let feed = Feed {
            consumer,
            jetstream: stream.clone(),
            config: config.clone(),
            inbox: self.inbox.clone(),
            in_hand: Arc::clone(&in_hand),
            is_open,
            timing,
            fed,
        };
        let feed = AbortOnDropHandle::new(tokio::spawn(feed.run()));
        let lag = AbortOnDropHandle::new(tokio::spawn(watch(stream, config, consumer, timing)));
        let worker = Worker {
            jetstream: self.jetstream,
            tallies: Tallies {
                consumer,
                is_traced: self.is_traced,
            },
            applier: Applier {
                consumer: self.consumer,
                context: self.context,
                inbox: self.inbox,
                limit: timing.inbox.handler_limit,
                write_limit: timing.inbox.write_limit,
            },
            timing,
            stop: stop.clone(),
        };
        let mut applying = Applying::new(Arc::new(worker), in_hand, opened, self.consumers);
        applying.run(messages, (feed, lag)).await
    }
}

/// Asks how far the consumer is behind, and tells what NATS denies it, for ever.
async fn watch(
    jetstream: JetStream,
    config: DurableConfig,
    consumer: &'static str,
    timing: Timing,
) {
    let messages = gauge!(LAG_MESSAGES, "consumer" => consumer);
    let seconds = gauge!(LAG_SECONDS, "consumer" => consumer);
    let (mut again, mut told) = (interval(timing.inbox.lag), Told::default());
    loop {
        again.tick().await;
        if let Some(denied) = jetstream.denied() {
            told.tell("NATS denies a consumer what it needs", denied);
        }
        let lag = jetstream.lag(&config).await;
        let lag = lag
            .inspect_err(
                |error| tracing::debug!(%error, "cannot ask how far the consumer is behind"),
            )
            .ok();
        messages.set(lag.map_or(f64::NAN, |Lag { messages, .. }| messages as f64));
        seconds.set(lag.map_or(f64::NAN, |Lag { age, .. }| age.as_secs_f64()));
    }
}
