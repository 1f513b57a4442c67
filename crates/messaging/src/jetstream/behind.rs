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

    /// Messages that the consumer was sent and the client can't read: it takes the connection for broken when one comes. With the
    /// subject that acknowledges each.
    ///
    /// # Errors
    /// When the stream can't be asked.
    pub(crate) async fn unreadable(
        &self,
        config: &DurableConfig,
    ) -> anyhow::Result<Vec<(Message, Subject)>> {
        let consumer = self.consumer_info(config).await?;
        let subject = format!("{}{}", self.prefix, config.subject);
        let (mut next, mut found) = (consumer.ack_floor.stream_sequence + 1, Vec::new());
        while next <= consumer.delivered.stream_sequence {
            let Some(message) = self.first_from(next, &subject).await? else {
                break;
            };
            next = message.sequence + 1;
            if !are_readable(&message.headers) {
                let (stream, name, sequence) = (&self.stream.name, &config.name, message.sequence);
                // The server looks at the sequence alone.
                let reply = format!("$JS.ACK.{stream}.{name}.1.{sequence}.1.1.0");
                found.push((message, reply.into()));
            }
        }
        Ok(found)
    }
}
