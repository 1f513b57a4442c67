//! What a stream holds, message by message, to the byte: the client's own way to ask refuses what it can't read.

use async_nats::jetstream::response::Response;
use base64::{Engine, engine::general_purpose::STANDARD};
use bson::DateTime;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::JetStream;
use crate::inbox::Message;

#[derive(Deserialize)]
struct Answer {
    message: Raw,
}

#[derive(Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    /// In base64, as the headers are.
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
    /// RFC 3339.
    time: String,
}

impl JetStream {
    /// The message of a sequence, or `None` where the stream holds none there any more.
    ///
    /// # Errors
    /// When the stream can't be asked.
    pub(crate) async fn message_at(&self, sequence: u64) -> anyhow::Result<Option<Message>> {
        self.message(&json!({ "seq": sequence })).await
    }

    /// The first message from this sequence on whose subject is one of the pattern's.
    ///
    /// # Errors
    /// When the stream can't be asked.
    pub(crate) async fn first_from(
        &self,
        sequence: u64,
        subject: &str,
    ) -> anyhow::Result<Option<Message>> {
        self.message(&json!({ "seq": sequence, "next_by_subj": subject }))
            .await
    }

    async fn message(&self, which: &Value) -> anyhow::Result<Option<Message>> {
        const NO_MESSAGE: u64 = 10037;
        let asked = format!("STREAM.MSG.GET.{}", self.stream.name);
        let raw = match self.jetstream.request(asked, which).await? {
            Response::Ok(Answer { message }) => message,
            Response::Err { error } if error.error_code().0 == NO_MESSAGE => return Ok(None),
            Response::Err { error } => return Err(error.into()),
        };
        Ok(Some(Message {
            subject: raw.subject,
            headers: Bytes::from(STANDARD.decode(raw.hdrs)?),
            payload: Bytes::from(STANDARD.decode(raw.data)?),
            sequence: raw.seq,
            published: DateTime::parse_rfc3339_str(&raw.time)?,
        }))
    }

    /// Whether a key may begin with a message that is not its first version: the stream has lost its beginning by its limits, and holds
    /// nothing earlier of the key. Where the subject does not end with the key, nobody can tell.
    ///
    /// # Errors
    /// When the stream can't be asked.
    pub(crate) async fn begins_with(&self, message: &Message, key: &str) -> anyhow::Result<bool> {
        let words: Vec<_> = message
            .subject
            .strip_prefix(&self.prefix)
            .unwrap_or_default()
            .split('.')
            .collect();
        let [noun, _, last] = *words else {
            return Ok(false);
        };
        if last != key || !self.has_lost_its_beginning().await? {
            return Ok(false);
        }
        let subject = format!("{}{noun}.*.{key}", self.prefix);
        let first = self.first_from(1, &subject).await?;
        Ok(first.is_none_or(|first| first.sequence >= message.sequence))
    }
}
