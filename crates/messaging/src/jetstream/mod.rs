//! JetStream: the connection and the stream. `publish` publishes one event so that it is stored exactly once.

mod behind;
mod connection;
mod denied;
mod durable;
mod failure;
mod held;
mod history;
mod identity;
mod outage;
mod publish;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    Client,
    jetstream::{
        self, Context, ErrorCode,
        context::{GetStreamError, GetStreamErrorKind},
        stream::{Config as StreamConfig, Stream},
    },
};
use db::setting::Unusable;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use denied::Denied;
use held::Histories;
use outage::Outage;
use publish::Published;
use stream::Weaknesses;

use crate::{EventType, NatsOptions, Timing, event::SKIPPED};

pub(crate) use behind::Lag;
pub(crate) use durable::{Durable, DurableConfig, Pulled};
pub(crate) use failure::{Failure, Whose};
pub(crate) use stream::StreamState;
#[cfg(test)]
pub(crate) use tests::{connected, nowhere};

/// A connection that is to be replaced is gone after this.
const RECONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// A connection to a service's stream.
#[derive(Clone)]
pub struct JetStream {
    /// The service that records the events; messages name it as their source.
    service: String,
    client: Client,
    jetstream: Context,
    stream: StreamConfig,
    /// The subjects that the stream has to take.
    needed: Vec<String>,
    /// Those that it should take, too: they tell of events that operators skip.
    skipped: Vec<String>,
    prefix: String,
    connected: watch::Receiver<bool>,
    outage: Arc<Outage>,
    denied: Denied,
    /// It ends with the last handle.
    _inbox: Arc<AbortOnDropHandle<()>>,
    published: Published,
    histories: Histories,
    /// Of the stream that is there.
    weaknesses: Arc<Mutex<Weaknesses>>,
}

impl JetStream {
    /// Connects in the background: a server that is away is tried again for ever. `service` publishes `events`, or consumes where there are
    /// none.
    ///
    /// # Errors
    /// When the options can't be used.
    pub async fn connect(
        options: &NatsOptions,
        service: &str,
        events: &[EventType],
        timing: Timing,
    ) -> Result<Self, Unusable> {
        let consumes = events.is_empty().then(|| options.nats_stream.clone());
        let connection = connection::connect(options, service, consumes, timing).await?;
        let client = connection.client;
        let context = jetstream::ContextBuilder::new()
            .timeout(timing.ack_timeout)
            .ack_timeout(timing.ack_timeout);
        let jetstream = match &options.access.nats_jetstream_domain {
            Some(domain) => context.domain(domain).build(client.clone()),
            None => context.build(client.clone()),
        };
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
        let inbox = connection.denied.clone().look_for_an_inbox(client.clone());
        let inbox = tokio::spawn(inbox);
        let needed = events
            .iter()
            .map(|event| format!("{prefix}{}.*", event.name));
        Ok(Self {
            service: service.to_owned(),
            client,
            jetstream,
            stream,
            needed: needed.collect(),
            skipped: EventType::nouns(events)
                .iter()
                .map(|noun| format!("{prefix}{noun}.{SKIPPED}.*"))
                .collect(),
            prefix,
            connected: connection.connected,
            outage: connection.outage,
            _inbox: Arc::new(AbortOnDropHandle::new(inbox)),
            denied: connection.denied,
            published: Published::default(),
            histories: Histories::default(),
            weaknesses: Arc::default(),
        })
    }

    /// The client, for whoever wants to subscribe over the same connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether there is a connection at this moment.
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Whether there is a connection, or there is one before `limit` is over: after a doubt the publisher makes a new one.
    pub async fn is_connected_within(&self, limit: Duration) -> bool {
        let mut connected = self.connection();
        let connected = connected.wait_for(|is_connected| *is_connected);
        tokio::time::timeout(limit, connected)
            .await
            .is_ok_and(|it| it.is_ok())
    }

    /// Why there is no connection, where that is known: each server's address and cause.
    pub(crate) fn why_not_connected(&self) -> Option<String> {
        self.outage.why()
    }

    /// An error of what was sent after `began`, with what NATS denied meanwhile, where that is why it went unanswered.
    fn explained(
        &self,
        error: anyhow::Error,
        began: Instant,
        is_ours: impl Fn(&str) -> bool,
    ) -> anyhow::Error {
        match self.denied.why(began, is_ours) {
            Some(why) => error.context(why),
            None => error,
        }
    }

    /// The same for a question to JetStream. A server of the stream's domain may know its subject by another name.
    pub(crate) fn explained_answer(&self, error: anyhow::Error, began: Instant) -> anyhow::Error {
        self.explained(error, began, |subject| subject.starts_with("$JS."))
    }

    /// All that NATS has denied since there is this connection.
    pub(crate) fn denied(&self) -> Option<String> {
        self.denied.all()
    }

    /// Tells of each change.
    pub(crate) fn connection(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Opens a new connection, which tells what the server allows now; returns when there is one.
    pub(crate) async fn reconnect(&self) {
        let mut connection = self.connection();
        if self.client.force_reconnect().await.is_ok() {
            let changed = connection.wait_for(|connected| !*connected);
            drop(tokio::time::timeout(RECONNECTS_WITHIN, changed).await);
            self.connected().await;
        }
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

    /// The stream as it is, or `None` where there is none.
    pub(crate) async fn stream(&self) -> anyhow::Result<Option<Stream>> {
        let began = Instant::now();
        match self.jetstream.get_stream(&self.stream.name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if is_no_stream(&error) => Ok(None),
            Err(error) => Err(self.explained_answer(error.into(), began)),
        }
    }
}

/// "There is no such stream", rather than that it can't be told.
fn is_no_stream(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(refused)
        if refused.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

#[cfg(test)]
mod tests;
