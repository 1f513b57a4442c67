//! Brings the messages: opens the consumer, as often as it has to, and pulls what there is room for.

use std::{sync::Arc, time::Instant};

use async_nats::{Subject, jetstream::AckKind};
use metrics::counter;
use tokio::sync::{mpsc, watch};

use super::{
    dead_letters::DEAD,
    in_hand::{Held, InHand},
    marks::Inbox,
    message::Message,
    usable::Usable,
};
use crate::{
    JetStream, Timing,
    jetstream::{Durable, DurableConfig, Pulled},
    metrics::PUT_ASIDE,
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

/// Why no more comes of a consumer that was opened.
enum End {
    /// Nobody opens or closes the feed any more.
    Closed,
    Reconnected,
    Lost(anyhow::Error),
}

/// Waits, but no longer than until the connection changes.
async fn wait(pause: impl Future<Output = ()>, connection: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = pause => {}
        Ok(()) = connection.changed() => {}
    }
}

impl Feed {
    /// Feeds until nobody opens or closes it any more.
    pub(super) async fn run(mut self) {
        let mut usable = Usable::new(self.consumer, &self.config.name, self.timing);
        let mut connection = self.jetstream.connection();
        loop {
            if !*connection.borrow_and_update() {
                usable.without_connection();
                self.jetstream.connected().await;
                continue;
            }
            let opened = tokio::select! {
                opened = self.open() => opened,
                // A server that shuts down ends our pulls before it closes the connection. It does not answer what we ask in between.
                Ok(()) = connection.changed() => continue,
            };
            let mut durable = match opened {
                Ok(durable) => durable,
                Err(error) => {
                    wait(usable.is_lost(&error), &mut connection).await;
                    continue;
                }
            };
            usable.is_opened();
            let began = Instant::now();
            match self.feed(&mut durable, &mut connection, &mut usable).await {
                End::Closed => return durable.close().await,
                End::Reconnected => {
                    tracing::debug!("the consumer is opened over another connection")
                }
                End::Lost(why) => {
                    let why = self.jetstream.explained_answer(why, began);
                    wait(usable.is_lost(&why), &mut connection).await;
                }
            }
        }
    }

    /// Opens the consumer, and looks for what it can't bring.
    async fn open(&self) -> anyhow::Result<Durable> {
        let durable = self.jetstream.durable(&self.config).await?;
        self.put_unreadable_aside().await;
        Ok(durable)
    }

    /// Feeds as long as the consumer is there, over one connection.
    async fn feed(
        &mut self,
        durable: &mut Durable,
        connection: &mut watch::Receiver<bool>,
        usable: &mut Usable,
    ) -> End {
        let mut without_limit = false;
        loop {
            if *self.is_open.borrow() && !durable.is_pulled() && self.in_hand.has_room() {
                let (messages, bytes) = self.in_hand.room();
                let largest = self.jetstream.largest_message() + OVERHEAD;
                let pulled = if std::mem::take(&mut without_limit) {
                    durable.pull(1, None).await
                } else {
                    durable.pull(messages, Some(bytes.max(largest))).await
                };
                if let Err(error) = pulled {
                    return End::Lost(error);
                }
            }
            tokio::select! {
                pulled = durable.next() => match pulled {
                    Pulled::Message(message, reply) => {
                        usable.is_used();
                        let held = self.in_hand.take(reply, message.size());
                        if self.fed.send(Fed { message, held }).is_err() {
                            return End::Closed;
                        }
                    }
                    Pulled::Nothing | Pulled::Ended => usable.is_used(),
                    Pulled::TooLarge => without_limit = true,
                    Pulled::Lost(why) => return End::Lost(anyhow::Error::msg(why)),
                },
                () = self.in_hand.is_less.notified() => {}
                changed = self.is_open.changed() => if changed.is_err() {
                    return End::Closed;
                },
                _ = connection.changed() => return End::Reconnected,
            }
        }
    }

    /// A message that the client can't read breaks each connection that it comes over. It is taken from the stream's history, and
    /// acknowledged.
    async fn put_unreadable_aside(&self) {
        let mut unread = match self.jetstream.unread(&self.config).await {
            Ok(unread) => unread,
            Err(error) => return tracing::debug!(%error, "cannot look for what can't be read"),
        };
        loop {
            match self.jetstream.next_unreadable(&mut unread).await {
                Ok(Some((message, reply))) => self.keep_unreadable(message, &reply).await,
                Ok(None) => return,
                Err(error) => return tracing::debug!(%error, "cannot look for what can't be read"),
            }
        }
    }

    async fn keep_unreadable(&self, message: Message, reply: &Subject) {
        let (consumer, sequence) = (self.consumer, message.sequence);
        let (inbox, jetstream) = (self.inbox.clone(), self.jetstream.clone());
        // This task counts and tells by itself: after the time-out nobody waits for it.
        let kept = async move {
            let reason = "the NATS client can't read its headers".to_owned();
            if inbox.keep(consumer, jetstream, message, reason).await? {
                counter!(PUT_ASIDE, "consumer" => consumer, "state" => DEAD).increment(1);
                tracing::error!(
                    consumer,
                    message.sequence = sequence,
                    "the headers of a message can't be read; it is a dead letter"
                );
            }
            Ok(())
        };
        let limit = self.timing.inbox.write_limit;
        if let Err(error) = self.inbox.db.bounded(limit, kept).await {
            return tracing::debug!(%error, "cannot put aside what can't be read");
        }
        self.jetstream.tell(reply, AckKind::Ack);
    }
}
