//! What a turn reads of what is put aside, and what it keeps of what can't be placed.

use std::sync::Arc;

use bytes::Bytes;

use super::{Failed, Step, Worker};
use crate::inbox::{
    apply::{Attempts, Job},
    dead_letters::{PutAside, RETRYING, WAITING},
    envelope::Envelope,
    in_hand::Held,
    item::Item,
    marks::KeyOf,
    message::Message,
    verdicts::refused,
};

/// What was put aside.
pub(super) enum Read {
    Job(Job),
    /// Its content is gone.
    Lost(Job),
}

impl<C: Clone + Send + Sync + 'static> Worker<C> {
    /// Keeps what tells no key or no version. It holds nobody back.
    pub(super) async fn keep(&self, message: Message, held: Held, reason: String) -> Step {
        let (inbox, consumer) = (self.applier.inbox.clone(), self.applier.consumer.name);
        let db = inbox.db.clone();
        let kept = inbox.keep(
            consumer,
            self.jetstream.clone(),
            message.clone(),
            reason.clone(),
        );
        match db.bounded(self.timing.inbox.write_limit, kept).await {
            Ok(is_new) => {
                if is_new {
                    self.tallies.unplaced(message.sequence, &reason);
                }
                held.acknowledge();
                Step::Done
            }
            Err(_) => Step::Failed(
                Item::Unplaced {
                    message,
                    held,
                    reason,
                },
                Failed::Unclear,
            ),
        }
    }

    /// Reads what is put aside. `None` where it is not there any more, or nothing is to be done about it.
    pub(super) async fn read(&self, key: &str, version: i64) -> anyhow::Result<Option<Read>> {
        let (inbox, name, owned) = (
            self.applier.inbox.clone(),
            self.applier.consumer.name,
            key.to_owned(),
        );
        let read = async move {
            inbox
                .letter(
                    KeyOf {
                        consumer: name,
                        key: &owned,
                    },
                    version,
                )
                .await
        };
        let letter = self
            .applier
            .inbox
            .db
            .bounded(self.timing.inbox.write_limit, read)
            .await?;
        let Some(letter) = letter.filter(|letter| [WAITING, RETRYING].contains(&&*letter.state))
        else {
            return Ok(None);
        };
        let aside = Some(Attempts {
            asked: letter.attempts,
            panics: letter.panics,
        });
        let PutAside {
            subject,
            content,
            sequence,
            published,
            message_id,
            r#type,
            ..
        } = letter;
        let there = match content {
            Some((headers, payload)) => Some(Message {
                subject,
                headers,
                payload,
                sequence,
                published,
            }),
            None => self.jetstream.message_at(sequence).await?,
        };
        let there = there.filter(|there| there.published == published);
        let is_lost = there.is_none();
        let message = there.unwrap_or_else(|| Message {
            subject: String::new(),
            headers: Bytes::new(),
            payload: Bytes::new(),
            sequence,
            published,
        });
        // The names are those that it was put aside under.
        let envelope = Envelope {
            key: key.to_owned(),
            version,
            message_id,
            r#type,
            traceparent: message.header("traceparent").map(str::to_owned),
            tracestate: message.header("tracestate").map(str::to_owned),
        };
        let job = Job {
            envelope,
            message,
            aside,
            is_base: false,
        };
        Ok(Some(if is_lost {
            Read::Lost(job)
        } else {
            Read::Job(job)
        }))
    }

    /// The stream has lost what was too large to be kept beside it.
    pub(super) async fn bury(&self, job: Job) -> Step {
        let reason = "the stream does not hold it any more".to_owned();
        let verdict = refused(&job, reason, self.timing);
        let (stream, version) = (self.jetstream.stream_name(), job.envelope.version);
        match self
            .applier
            .put_aside(stream, vec![Arc::new(job)], verdict)
            .await
        {
            Ok(_) => Step::Done,
            Err(_) => Step::Failed(Item::Aside(version), Failed::Unclear),
        }
    }
}
