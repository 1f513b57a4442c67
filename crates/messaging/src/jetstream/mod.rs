//! JetStream: the stream, and publishing one event so that it is stored exactly once.

mod connection;
mod failure;
mod headers;
mod sequences;

use async_nats::{
    Client, Subject,
    jetstream::{
        self, Context, ErrorCode,
        context::{GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
        stream::{Config as StreamConfig, LastRawMessageError, LastRawMessageErrorKind, Stream},
    },
};
use db::setting::Unusable;
use tokio::sync::watch;

use failure::is_wrong_sequence;
use headers::{ID_HEADER, VERSION_HEADER, headers};
use sequences::LastSequences;

use crate::{Event, EventType, NatsOptions, Timing};

pub(crate) use failure::Failure;

/// A connection to a service's stream.
#[derive(Clone)]
pub struct JetStream {
    /// Whose events they are.
    service: String,
    client: Client,
    jetstream: Context,
    stream: StreamConfig,
    prefix: String,
    connected: watch::Receiver<bool>,
    last: LastSequences,
}

/// What the stream holds of a subject.
enum Last {
    /// The event, or a later version of its key.
    Stored,
    /// Only earlier ones; the sequence of the last, or 0.
    Earlier(u64),
}

impl JetStream {
    /// Connects in the background: a server that is away is tried again for ever. `service` publishes `events`.
    ///
    /// # Errors
    /// When the options can't be used.
    pub async fn connect(
        options: &NatsOptions,
        service: &str,
        events: &[EventType],
        timing: Timing,
    ) -> Result<Self, Unusable> {
        let (client, connected) = connection::connect(options, service, timing).await?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(timing.ack_timeout)
            .ack_timeout(timing.ack_timeout)
            .build(client.clone());
        let prefix = match options.nats_subject_prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}."),
        };
        let stream = StreamConfig {
            name: options.nats_stream.clone(),
            subjects: EventType::subjects(events)
                .iter()
                .map(|subject| format!("{prefix}{subject}"))
                .collect(),
            num_replicas: options.nats_replicas,
            duplicate_window: options.nats_duplicate_window,
            ..StreamConfig::default()
        };
        Ok(Self {
            service: service.to_owned(),
            client,
            jetstream,
            stream,
            prefix,
            connected,
            last: LastSequences::default(),
        })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Returns when there is a connection.
    pub async fn connected(&self) {
        // The sender lives as long as the client.
        drop(
            self.connected
                .clone()
                .wait_for(|connected| *connected)
                .await,
        );
    }

    /// Makes the stream where there is none, and checks that one that is there takes our subjects.
    pub(crate) async fn ensure_stream(&self) -> anyhow::Result<()> {
        let found = self
            .jetstream
            .get_or_create_stream(self.stream.clone())
            .await?;
        let theirs = &found.cached_info().config.subjects;
        anyhow::ensure!(
            self.stream
                .subjects
                .iter()
                .all(|ours| theirs.contains(ours)),
            "stream {} takes the subjects {theirs:?}, not {:?}",
            self.stream.name,
            self.stream.subjects,
        );
        Ok(())
    }

    /// The stream as it is, or `None` where there is none.
    pub(crate) async fn stream(&self) -> anyhow::Result<Option<Stream>> {
        match self.jetstream.get_stream(&self.stream.name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if is_no_stream(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes an event and waits until the stream holds it.
    ///
    /// The message id removes a copy within the stream's window. Outside it, the expected sequence of the
    /// subject's last message does: the stream refuses a message that is not the next, whenever it arrives.
    pub(crate) async fn publish(&self, event: &Event) -> Result<(), Failure> {
        const ATTEMPTS: usize = 2;
        let subject = format!("{}{}", self.prefix, event.subject);
        if !self.is_of_stream(&subject) {
            return Err(Failure::Never(format!(
                "its subject {subject:?} is not one of {:?}",
                self.stream.subjects
            )));
        }
        let mut expected = match self.last.of(&subject) {
            Some((version, sequence)) if version < event.version => sequence,
            // The first of its subject, most likely; the stream refuses it otherwise.
            None => 0,
            Some(_) => match self.last_of(&subject, event).await? {
                Last::Stored => return Ok(()),
                Last::Earlier(sequence) => sequence,
            },
        };
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            match self.send(&subject, event, expected).await {
                Err(error) if is_wrong_sequence(&error) => {
                    match self.last_of(&subject, event).await? {
                        Last::Stored => return Ok(()),
                        Last::Earlier(sequence) => expected = sequence,
                    }
                    refused = Some(error);
                }
                Err(error) => return Err(Failure::from(error)),
                Ok(ack) if ack.duplicate && event.replay => {
                    return match self.last_of(&subject, event).await? {
                        Last::Stored => Ok(()),
                        Last::Earlier(_) => Err(Failure::Event(anyhow::anyhow!(
                            "the stream still knows the id of a message that it lost, until its window has passed"
                        ))),
                    };
                }
                Ok(ack) => {
                    self.last.remember(subject, event.version, ack.sequence);
                    return Ok(());
                }
            }
        }
        Err(Failure::Event(anyhow::anyhow!(
            "the subject keeps changing: {refused:?}"
        )))
    }

    /// A subject that is not would fail like a stream that is away.
    fn is_of_stream(&self, subject: &str) -> bool {
        let is_concrete = Subject::validated(subject).is_ok() && !subject.contains(['*', '>']);
        let is_under = |pattern: &String| {
            // A subject does not end with the root's dot.
            subject.starts_with(pattern.strip_suffix('>').unwrap_or(pattern))
        };
        is_concrete && self.stream.subjects.iter().any(is_under)
    }

    async fn send(
        &self,
        subject: &str,
        event: &Event,
        expected: u64,
    ) -> Result<PublishAck, PublishError> {
        let payload = serde_json::to_vec(&event.data)
            .map_err(|error| PublishError::with_source(PublishErrorKind::Other, error))?;
        let message = PublishMessage::build()
            .headers(headers(event, &self.service))
            .payload(payload.into())
            .message_id(event.id.to_hex())
            .expected_last_subject_sequence(expected);
        self.jetstream
            .send_publish(subject.to_owned(), message)
            .await?
            .await
    }

    /// Asks the stream's leader, never a replica that may lag.
    async fn last_of(&self, subject: &str, event: &Event) -> Result<Last, Failure> {
        let stream = self
            .jetstream
            .get_stream_no_info(&self.stream.name)
            .await
            .map_err(not_told)?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Err(error) => none_stored(error),
            Ok(message) => {
                let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
                let version = header(VERSION_HEADER).and_then(|version| version.parse().ok());
                let is_stored = if event.replay {
                    // Later versions say nothing of one that was lost.
                    header(ID_HEADER) == Some(event.id.to_hex().as_str())
                } else {
                    version.is_some_and(|version: i64| version >= event.version)
                };
                if is_stored {
                    Ok(Last::Stored)
                } else {
                    Ok(Last::Earlier(message.sequence))
                }
            }
        }
    }
}

/// "There is no such stream", rather than that it can't be told.
fn is_no_stream(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(refused)
        if refused.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// That there is no message is an answer as well.
fn none_stored(error: LastRawMessageError) -> Result<Last, Failure> {
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => Ok(Last::Earlier(0)),
        _ => Err(not_told(error)),
    }
}

fn not_told(error: impl Into<anyhow::Error>) -> Failure {
    let error = error.into();
    Failure::Broker(error.context("asking for the last message of a subject"))
}

#[cfg(test)]
mod tests;
