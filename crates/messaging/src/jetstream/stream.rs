//! The stream: made where there is none, and checked for what the promise rests on where there is one.

mod config;

use std::time::Instant;

use async_nats::jetstream::{ErrorCode, response::Response};
use serde::Deserialize;

use super::JetStream;
use config::{Config, covers};

/// What a stream was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// It was there.
    There,
    /// It was not, and has been made.
    Made,
    /// It is there, and does not take all that is ours; what it takes it keeps.
    Narrow(String),
    /// It is there, and what it acknowledges is not kept as it was published: why.
    Unfit(String),
}

/// What makes the promise weaker, as it was told.
#[derive(Debug, Default)]
pub(super) struct Weaknesses {
    skips: String,
    forgets: String,
    loses: String,
}

#[derive(Deserialize)]
struct Info {
    config: Config,
    state: State,
}

#[derive(Deserialize)]
struct State {
    first_seq: u64,
    /// Of those behind the first that are gone.
    #[serde(default)]
    num_deleted: u64,
}

impl JetStream {
    /// Makes the stream where there is none, and checks one that is there. What makes "exactly once" or a replay weaker is accepted
    /// with a warning.
    pub(crate) async fn ensure_stream(&self) -> anyhow::Result<StreamState> {
        let began = Instant::now();
        let found = self.look_for_stream().await;
        found.map_err(|error| self.explained_answer(error, began))
    }

    async fn look_for_stream(&self) -> anyhow::Result<StreamState> {
        let name = &self.stream.name;
        let asked = format!("STREAM.INFO.{name}");
        match self.jetstream.request(asked, &()).await? {
            Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                self.jetstream.create_stream(self.stream.clone()).await?;
                *self.weaknesses.lock() = Weaknesses::default();
                Ok(StreamState::Made)
            }
            Response::Err { error } => Err(error.into()),
            Response::Ok(Info { config, .. }) => {
                if let Some(unfit) = config.unfit() {
                    return Ok(StreamState::Unfit(format!("stream {name} {unfit}")));
                }
                if let Some(lacks) = config.lacks(&self.needed) {
                    return Ok(StreamState::Narrow(format!("stream {name} {lacks}")));
                }
                self.tell_weaknesses(&config);
                Ok(StreamState::There)
            }
        }
    }

    /// Whether messages are gone by limits of the stream's own.
    pub(super) async fn has_lost_its_beginning(&self) -> anyhow::Result<bool> {
        let asked = format!("STREAM.INFO.{}", self.stream.name);
        match self.jetstream.request(asked, &()).await? {
            Response::Err { error } => Err(error.into()),
            Response::Ok(Info { config, state }) => {
                let has_lost = state.first_seq > 1 || state.num_deleted > 0;
                Ok(has_lost && !config.forgets().is_empty())
            }
        }
    }

    /// Each once, until it is another.
    fn tell_weaknesses(&self, config: &Config) {
        let (stream, mut told) = (&self.stream.name, self.weaknesses.lock());
        let skips = config.lacks(&self.skipped).unwrap_or_default();
        if is_news(&mut told.skips, skips) {
            tracing::warn!(
                stream,
                subjects = ?self.skipped,
                "the stream does not take the subjects that tell of skipped events: `outbox skip` refuses"
            );
        }
        if is_news(&mut told.forgets, config.forgets().join(", ")) {
            tracing::warn!(
                stream,
                limits = told.forgets,
                "the stream forgets messages by limits of its own: a copy of a forgotten one is stored again, and a replay can't tell it from a lost one"
            );
        }
        if is_news(&mut told.loses, config.loses().join(", ")) {
            tracing::warn!(
                stream,
                settings = told.loses,
                "the stream can lose what it has acknowledged: `outbox replay` publishes again what is still kept"
            );
        }
    }

    /// Whether the stream takes messages of this type.
    pub(crate) async fn takes(&self, r#type: &str) -> anyhow::Result<bool> {
        let subject = format!("{}{type}.*", self.prefix);
        let stream = self.stream().await?;
        Ok(stream.is_none_or(|stream| {
            let subjects = &stream.cached_info().config.subjects;
            subjects.iter().any(|taken| covers(taken, &subject))
        }))
    }

    /// Whether a message that is not there may have been forgotten by the stream's limits.
    pub(super) fn forgets(&self) -> bool {
        !self.weaknesses.lock().forgets.is_empty()
    }
}

fn is_news(told: &mut String, weakness: String) -> bool {
    let is_news = !weakness.is_empty() && *told != weakness;
    *told = weakness;
    is_news
}
