//! What a durable consumer has not acknowledged: how much, and what of it can't be read.

use std::time::Duration;

use async_nats::{
    Subject,
    jetstream::consumer::{Info, pull},
};

use super::{DurableConfig, JetStream};
use crate::inbox::{Message, are_readable};

/// How far a consumer is behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lag {
    pub(crate) messages: u64,
    /// Of the first that is not acknowledged.
    pub(crate) age: Duration,
}

/// Where to look for what a consumer was sent and has not acknowledged.
pub(crate) struct Unread {
    name: String,
    subject: String,
    next: u64,
    last: u64,
    /// Not acknowledged, and not found yet.
    left: usize,
}

impl JetStream {
    /// How far the consumer is behind.
    ///
    /// # Errors
    /// When it can't be asked.
    pub(crate) async fn lag(&self, config: &DurableConfig) -> anyhow::Result<Lag> {
        let consumer = self.consumer_info(config).await?;
        let messages = consumer.num_pending + consumer.num_ack_pending as u64;
        let mut age = Duration::ZERO;
        if messages > 0 {
            let subject = format!("{}{}", self.prefix, config.subject);
            let first = self
                .first_from(consumer.ack_floor.stream_sequence + 1, &subject)
                .await?;
            let published = first.map(|first| first.published.to_system_time());
            age = published
                .and_then(|at| at.elapsed().ok())
                .unwrap_or_default();
        }
        Ok(Lag { messages, age })
    }

    async fn consumer_info(&self, config: &DurableConfig) -> anyhow::Result<Info> {
        let asked = self
            .jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(&config.name, &self.stream.name);
        Ok(asked.await?.cached_info().clone())
    }

    /// What the consumer was sent and has not acknowledged, some of which the client may be unable to read: it takes the connection for
    /// broken when such a message comes.
    ///
    /// # Errors
    /// When the stream can't be asked.
    pub(crate) async fn unread(&self, config: &DurableConfig) -> anyhow::Result<Unread> {
        let consumer = self.consumer_info(config).await?;
        Ok(Unread {
            name: config.name.clone(),
            subject: format!("{}{}", self.prefix, config.subject),
            next: consumer.ack_floor.stream_sequence + 1,
            last: consumer.delivered.stream_sequence,
            left: consumer.num_ack_pending,
        })
    }

    /// The next one that the client can't read, with the subject that acknowledges it. One message is read at a time, and no more are looked
    /// for than are not acknowledged.
    ///
    /// # Errors
    /// When the stream can't be asked.
    pub(crate) async fn next_unreadable(
        &self,
        unread: &mut Unread,
    ) -> anyhow::Result<Option<(Message, Subject)>> {
        while unread.left > 0 && unread.next <= unread.last {
            let Some(message) = self.first_from(unread.next, &unread.subject).await? else {
                break;
            };
            unread.next = message.sequence + 1;
            if !are_readable(&message.headers) {
                unread.left -= 1;
                let (stream, name, sequence) = (&self.stream.name, &unread.name, message.sequence);
                // The server looks at the sequence alone.
                let reply = format!("$JS.ACK.{stream}.{name}.1.{sequence}.1.1.0");
                return Ok(Some((message, reply.into())));
            }
        }
        Ok(None)
    }
}
