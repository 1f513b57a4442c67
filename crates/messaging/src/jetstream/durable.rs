//! A durable pull consumer: made where there is none, brought up to date where there is one, and pulled from.
//!
//! One pull at a time asks for as much as there is room for: the client's own stream of messages would read ahead of what is in hand.

use async_nats::{
    Message as Delivered, StatusCode, Subject, Subscriber,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    },
};
use bson::DateTime;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    task::unconstrained,
    time::{Instant, sleep_until},
};

use super::JetStream;
use crate::{
    InboxTiming,
    inbox::{Message, written},
};

/// Unacknowledged messages of all instances at most: more than they have in hand, so that it never stops them.
const MOST_UNACKNOWLEDGED: i64 = 100_000;
/// A server that says nothing for so many heartbeats has forgotten us.
const MISSED_HEARTBEATS: u32 = 2;

/// What a consumer is to be.
#[derive(Debug, Clone)]
pub(crate) struct DurableConfig {
    pub(crate) name: String,
    /// What it consumes, behind the prefix: `order.>`.
    pub(crate) subject: String,
    pub(crate) timing: InboxTiming,
}

pub(crate) struct Durable {
    consumer: Consumer<pull::Config>,
    messages: Subscriber,
    inbox: Subject,
    context: Context,
    timing: InboxTiming,
    /// Messages that the server may still send of the last pull, and those that it did.
    owed: usize,
    sent: usize,
    heard_at: Instant,
}

/// What the server sent.
#[derive(Debug)]
pub(crate) enum Pulled {
    /// A message, and where its acknowledgement goes.
    Message(Message, Subject),
    /// The pull goes on: there is no message.
    Nothing,
    /// A pull has ended.
    Ended,
    /// The next message is larger than a pull may be.
    TooLarge,
    /// Nothing more comes of this consumer: why.
    Lost(String),
}

impl JetStream {
    /// The name of the stream.
    pub(crate) fn stream_name(&self) -> &str {
        &self.stream.name
    }

    /// What stands before every subject, with the dot behind it.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Makes the consumer, or brings it up to date.
    ///
    /// # Errors
    /// When there is no stream, or it can't be asked.
    pub(crate) async fn durable(&self, config: &DurableConfig) -> anyhow::Result<Durable> {
        let began = std::time::Instant::now();
        let found = self.open(config).await;
        found.map_err(|error| self.explained_answer(error, began))
    }

    async fn open(&self, config: &DurableConfig) -> anyhow::Result<Durable> {
        let wanted = pull::Config {
            durable_name: Some(config.name.clone()),
            filter_subject: format!("{}{}", self.prefix, config.subject),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: config.timing.ack_wait,
            max_ack_pending: MOST_UNACKNOWLEDGED,
            ..pull::Config::default()
        };
        let context = self.jetstream.clone();
        let consumer = context.create_consumer_on_stream(wanted, &self.stream.name);
        let consumer = consumer.await?;
        let inbox = Subject::from(self.client.new_inbox());
        let messages = self.client.subscribe(inbox.clone()).await?;
        Ok(Durable {
            consumer,
            messages,
            inbox,
            context,
            timing: config.timing,
            owed: 0,
            sent: 0,
            heard_at: Instant::now(),
        })
    }

    /// Sends what a message's sender is told: never waits, and where there is no connection, nothing is sent. A lost acknowledgement brings
    /// the message again.
    pub(crate) fn tell(&self, reply: &Subject, what: jetstream::AckKind) {
        if self.is_connected() {
            // Else a task that tells many would be made to wait after some of them.
            let told = unconstrained(self.client.publish(reply.clone(), what.into()));
            drop(told.now_or_never());
        }
    }

    /// Returns when what was told is sent.
    pub(crate) async fn flush(&self) {
        drop(self.client.flush().await);
    }

    /// The largest message that the server takes.
    pub(crate) fn largest_message(&self) -> usize {
        self.client.server_info().max_payload
    }
}

impl Durable {
    /// Whether a pull is under way.
    pub(crate) fn is_pulled(&self) -> bool {
        self.owed > 0
    }

    /// Asks for so many messages, of so many bytes together; without a limit where that is `None`.
    pub(crate) async fn pull(
        &mut self,
        messages: usize,
        bytes: Option<usize>,
    ) -> anyhow::Result<()> {
        // The server may allow less, and refuses what asks for more.
        let most = usize::try_from(self.consumer.cached_info().config.max_batch);
        let most = most.ok().filter(|most| *most > 0);
        let messages = most.map_or(messages, |most| messages.min(most));
        let batch = pull::BatchConfig {
            batch: messages,
            expires: Some(self.timing.pull),
            max_bytes: bytes.unwrap_or_default(),
            idle_heartbeat: self.timing.heartbeat,
            ..pull::BatchConfig::default()
        };
        self.consumer
            .request_batch(batch, self.inbox.clone())
            .await?;
        self.heard_at = Instant::now();
        (self.owed, self.sent) = (messages, 0);
        Ok(())
    }

    /// Takes nothing more, so that the server sends to others what is given back.
    pub(crate) async fn close(mut self) {
        drop(self.messages.unsubscribe().await);
    }

    /// The next that the server sends. Whoever drops it loses nothing.
    pub(crate) async fn next(&mut self) -> Pulled {
        loop {
            let silent = sleep_until(self.heard_at + self.timing.heartbeat * MISSED_HEARTBEATS);
            let message = tokio::select! {
                message = self.messages.next() => message,
                () = silent, if self.owed > 0 => return Pulled::Lost("the server is silent".to_owned()),
            };
            let Some(message) = message else {
                return Pulled::Lost("the connection is closed".to_owned());
            };
            self.heard_at = Instant::now();
            if let Some(pulled) = self.take(message) {
                return pulled;
            }
        }
    }

    fn take(&mut self, message: Delivered) -> Option<Pulled> {
        let message = jetstream::Message {
            message,
            context: self.context.clone(),
        };
        // A message may pass for an answer of the server by its headers, but no answer is to be acknowledged.
        if let Ok(info) = message.info() {
            let ms = info.published.unix_timestamp_nanos() / 1_000_000;
            let (sequence, published) =
                (info.stream_sequence, i64::try_from(ms).unwrap_or_default());
            self.owed = self.owed.saturating_sub(1);
            self.sent += 1;
            let message = message.message;
            let reply = message.reply?;
            let headers = message.headers.as_ref().map(written).unwrap_or_default();
            let message = Message {
                subject: message.subject.into_string(),
                headers,
                payload: message.payload,
                sequence,
                published: DateTime::from_millis(published),
            };
            return Some(Pulled::Message(message, reply));
        }
        let (status, said) = (
            message.status?,
            message.description.as_deref().unwrap_or_default(),
        );
        match status {
            StatusCode::IDLE_HEARTBEAT => Some(Pulled::Nothing),
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => Some(self.ended()),
            StatusCode::REQUEST_TERMINATED if said.contains("MaxBytes") && self.sent == 0 => {
                self.owed = 0;
                Some(Pulled::TooLarge)
            }
            StatusCode::REQUEST_TERMINATED if said.contains("MaxBytes") => Some(self.ended()),
            StatusCode::REQUEST_TERMINATED if said == "Batch Completed" => Some(self.ended()),
            status => Some(Pulled::Lost(format!("{status} {said}"))),
        }
    }

    fn ended(&mut self) -> Pulled {
        self.owed = 0;
        Pulled::Ended
    }
}

impl DurableConfig {
    /// `service`'s consumer `name`; the prefix keeps environments apart that share a stream.
    pub(crate) fn new(jetstream: &JetStream, name: &str, noun: &str, timing: InboxTiming) -> Self {
        let prefix = jetstream.prefix.replace('.', "-");
        Self {
            name: format!("{prefix}{}-{name}", jetstream.service),
            subject: format!("{noun}.>"),
            timing,
        }
    }
}
