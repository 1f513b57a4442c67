//! Brings the messages: opens the consumer, as often as it has to, and pulls what there is room for.

use std::sync::Arc;

use bson::doc;
use metrics::{counter, gauge};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    in_hand::{Held, InHand, MOST, MOST_BYTES},
    marks::Inbox,
    message::Message,
};
use crate::{
    JetStream, Timing,
    inbox::envelope::{message_id, type_of},
    jetstream::{Durable, DurableConfig, Pulled},
    metrics::{PUT_ASIDE, STREAM_MISSING},
    pauses::Pauses,
    told::Told,
};

/// What a message takes besides its payload, as far as anybody knows.
const OVERHEAD: usize = 64 * 1024;

/// A message in hand.
pub(super) struct Fed {
    pub(super) message: Message,
    pub(super) held: Held,
}

pub(super) struct Feed {
    pub(super) consumer: &'static str,
    pub(super) jetstream: JetStream,
    pub(super) config: DurableConfig,
    pub(super) inbox: Inbox,
    pub(super) in_hand: Arc<InHand>,
    /// Whether more may be pulled.
    pub(super) is_open: watch::Receiver<bool>,
    pub(super) timing: Timing,
    pub(super) fed: mpsc::UnboundedSender<Fed>,
}

impl Feed {
    /// Feeds until nobody opens or closes it any more.
    pub(super) async fn run(mut self) {
        let mut pauses = Pauses::new(self.timing.first_retry, self.timing.longest_retry);
        let mut told = Told::default();
        let is_missing = gauge!(STREAM_MISSING, "consumer" => self.consumer);
        loop {
            self.jetstream.connected().await;
            let lost = match self.jetstream.durable(&self.config).await {
                Ok(mut durable) => {
                    if is_missing_no_more(&is_missing, &mut told) {
                        tracing::info!(consumer = self.config.name, "messages are consumed");
                    }
                    pauses.start_again();
                    self.put_unreadable_aside().await;
                    let Some(lost) = self.feed(&mut durable).await else {
                        return durable.close().await;
                    };
                    tracing::debug!(lost, "the consumer is opened anew");
                    continue;
                }
                Err(error) => error,
            };
            is_missing.set(1.0);
            let failure = "the stream's consumer cannot be used; it is waited for";
            told.tell(failure, format!("{}: {lost:#}", self.config.name));
            sleep(pauses.next()).await;
        }
    }

    /// Feeds as long as the consumer is there; why it is not, or `None` where nobody opens or closes the feed any more.
    async fn feed(&mut self, durable: &mut Durable) -> Option<String> {
        let mut connection = self.jetstream.connection();
        connection.mark_unchanged();
        let mut without_limit = false;
        loop {
            let (messages, bytes) = self.in_hand.room();
            let has_room = messages >= MOST / 2 && bytes >= MOST_BYTES / 2;
            if *self.is_open.borrow() && !durable.is_pulled() && has_room {
                let largest = self.jetstream.largest_message() + OVERHEAD;
                let pulled = if std::mem::take(&mut without_limit) {
                    durable.pull(1, None).await
                } else {
                    durable.pull(messages, Some(bytes.max(largest))).await
                };
                if let Err(error) = pulled {
                    return Some(format!("{error:#}"));
                }
            }
            tokio::select! {
                pulled = durable.next() => match pulled {
                    Pulled::Message(message, reply) => {
                        let held = self.in_hand.take(reply, message.size());
                        self.fed.send(Fed { message, held }).ok()?;
                    }
                    Pulled::Ended => {}
                    Pulled::TooLarge => without_limit = true,
                    Pulled::Lost(why) => return Some(why),
                },
                () = self.in_hand.has_room.notified() => {}
                changed = self.is_open.changed() => changed.ok()?,
                _ = connection.changed() => return Some("the connection is another".to_owned()),
            }
        }
    }

    /// A message that the client can't read breaks each connection that it comes over. It is taken from the stream's history, and
    /// acknowledged.
    async fn put_unreadable_aside(&self) {
        let found = match self.jetstream.unreadable(&self.config).await {
            Ok(found) => found,
            Err(error) => return tracing::debug!(%error, "cannot look for what can't be read"),
        };
        let stream = self.jetstream.stream_name();
        for (message, reply) in found {
            let letter = doc! {
                "reason": "the NATS client can't read its headers",
                "messageId": message_id(&message, stream), "type": type_of(&message, self.jetstream.prefix()),
            };
            match self
                .inbox
                .keep(self.consumer, stream, &message, letter)
                .await
            {
                Ok(()) => {
                    let sequence = message.sequence;
                    counter!(PUT_ASIDE, "consumer" => self.consumer, "state" => "dead")
                        .increment(1);
                    tracing::error!(
                        consumer = self.consumer,
                        sequence,
                        "the headers of a message can't be read; it is a dead letter"
                    );
                    self.jetstream
                        .tell(&reply, async_nats::jetstream::AckKind::Ack);
                }
                Err(error) => tracing::debug!(%error, "cannot put aside what can't be read"),
            }
        }
    }
}

/// Whether that is news.
fn is_missing_no_more(is_missing: &metrics::Gauge, told: &mut Told) -> bool {
    is_missing.set(0.0);
    let was_told = told.is_told();
    told.is_over();
    was_told
}
