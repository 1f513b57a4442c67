//! Dead letters: messages that can't be applied now, with their content as it came. Nothing waits in the stream, where it would hold up
//! everybody in the end.

mod figures;
mod operators;
mod putting;
mod shown;
mod sweeps;

use std::{collections::BTreeSet, time::Duration};

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use bytes::Bytes;
use futures_util::TryStreamExt;
use mongodb::{ClientSession, Collection, IndexModel};

pub use figures::read_inbox_figures;
pub use operators::{DeadLetter, InboxStatus, ShownLetter, SkippedVersions};
pub(crate) use sweeps::Due;

use super::{
    envelope::Envelope,
    marks::{Inbox, KeyOf},
    message::Message,
};

const DEAD_LETTERS: &str = "deadLetters";
/// Its predecessor is missing, or waits itself.
pub(crate) const WAITING: &str = "waiting";
/// Its handler wants it again.
pub(crate) const RETRYING: &str = "retrying";
/// Only an operator can help it.
pub(crate) const DEAD: &str = "dead";
/// An operator gave it up; it is kept with the reason.
const SKIPPED: &str = "skipped";
/// In characters.
const LONGEST_REASON: usize = 1_000;

/// Why a message is put aside, and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) state: &'static str,
    pub(crate) reason: String,
    /// How often its handler was asked.
    pub(crate) attempts: i64,
    /// How often it panicked.
    pub(crate) panics: i64,
    /// It is tried again after this.
    pub(crate) delay: Duration,
}

impl Verdict {
    pub(crate) fn waits() -> Self {
        Self {
            state: WAITING,
            reason: "the version before it is missing".to_owned(),
            attempts: 0,
            panics: 0,
            delay: Duration::ZERO,
        }
    }

    /// Nobody can tell which one it is.
    fn unplaced(reason: String) -> Self {
        Self {
            state: DEAD,
            reason,
            ..Self::waits()
        }
    }

    fn reason(&self) -> String {
        self.reason.chars().take(LONGEST_REASON).collect()
    }

    fn delay_ms(&self) -> i64 {
        i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A message that is to be put aside.
#[derive(Clone, Copy)]
pub(crate) struct Letter<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) message: &'a Message,
    pub(crate) verdict: &'a Verdict,
}

/// A message that was put aside.
pub(crate) struct PutAside {
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) panics: i64,
    pub(crate) message_id: String,
    pub(crate) r#type: String,
    pub(crate) subject: String,
    /// `None` where it was too large: the stream has it.
    pub(crate) content: Option<(Bytes, Bytes)>,
    pub(crate) sequence: u64,
    pub(crate) published: DateTime,
}

/// What has become of messages that were to be put aside.
#[derive(Debug, Default)]
pub(crate) struct Put {
    /// The versions that are put aside now, or have another verdict now.
    pub(crate) versions: BTreeSet<i64>,
    pub(crate) conflicts: Vec<Conflict>,
}

/// A message whose version another one has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) version: i64,
    pub(crate) message_id: String,
    /// The other's, which is kept.
    pub(crate) known: String,
}

/// A version of a key that is put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) version: i64,
    pub(crate) state: String,
    pub(crate) message_id: String,
}

fn id(of: KeyOf<'_>, version: i64) -> Document {
    doc! { "consumer": of.consumer, "key": of.key, "version": version }
}

/// What of a key is not given up.
fn of_key(of: KeyOf<'_>, versions: Document) -> Document {
    doc! {
        "_id.consumer": of.consumer, "_id.key": of.key, "_id.version": versions,
        "state": { "$ne": SKIPPED },
    }
}

/// A stage of an update: when it is to be tried, by the server's clock.
fn with_next() -> Document {
    doc! { "$set": { "nextAt": { "$add": ["$$NOW", "$delayMs"] } } }
}

impl Inbox {
    fn dead_letters<T: Send + Sync>(&self) -> Collection<T> {
        self.db.collection(DEAD_LETTERS)
    }

    pub(super) async fn prepare_dead_letters(&self) -> mongodb::error::Result<()> {
        self.db.need(DEAD_LETTERS, &["remove"]);
        let by_key = doc! { "_id.consumer": 1, "_id.key": 1, "_id.version": 1 };
        // Of those that wait, keys and versions are read by the thousand: from here alone.
        let by_state =
            doc! { "_id.consumer": 1, "state": 1, "nextAt": 1, "_id.key": 1, "_id.version": 1 };
        let indexes = [by_key, by_state].map(|keys| IndexModel::builder().keys(keys).build());
        self.db.ensure_collection(DEAD_LETTERS, indexes).await
    }

    /// The first two of a key that are put aside, from this version on.
    pub(crate) async fn aside_from(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        version: i64,
    ) -> mongodb::error::Result<Vec<Aside>> {
        let letters = self.dead_letters::<RawDocumentBuf>();
        let mut found = letters
            .find(of_key(of, doc! { "$gte": version }))
            .sort(doc! { "_id.version": 1 })
            .limit(2)
            .projection(doc! { "state": 1, "messageId": 1 })
            .session(&mut *session)
            .await?;
        let mut aside = Vec::new();
        let mut letters = found.stream(session);
        while let Some(letter) = letters.try_next().await? {
            aside.extend(Aside::of(&letter));
        }
        Ok(aside)
    }

    /// Takes versions of a key away that are applied, or older than one that is.
    pub(crate) async fn settle(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        versions: Document,
    ) -> mongodb::error::Result<()> {
        let letters = self.dead_letters::<Document>();
        let settled = letters.delete_many(of_key(of, versions));
        settled.session(session).await.map(drop)
    }

    /// One that is put aside, with its content.
    pub(crate) async fn letter(
        &self,
        of: KeyOf<'_>,
        version: i64,
    ) -> mongodb::error::Result<Option<PutAside>> {
        let letters = self.dead_letters::<Document>();
        let found = letters.find_one(doc! { "_id": id(of, version) });
        Ok(found.await?.map(PutAside::of))
    }
}

impl Aside {
    fn of(letter: &RawDocumentBuf) -> Option<Self> {
        let version = letter.get_document("_id").ok()?.get_i64("version").ok()?;
        let text = |name| letter.get_str(name).unwrap_or_default().to_owned();
        Some(Self {
            version,
            state: text("state"),
            message_id: text("messageId"),
        })
    }
}

impl PutAside {
    fn of(mut letter: Document) -> Self {
        let mut bytes = |name: &str| match letter.remove(name) {
            Some(Bson::Binary(binary)) => Some(Bytes::from(binary.bytes)),
            _ => None,
        };
        let content = bytes("headers").zip(bytes("payload"));
        let number = |name| letter.get_i64(name).unwrap_or_default();
        let text = |name| letter.get_str(name).unwrap_or_default().to_owned();
        Self {
            state: text("state"),
            attempts: number("attempts"),
            panics: number("panics"),
            message_id: text("messageId"),
            r#type: text("type"),
            subject: text("subject"),
            content,
            sequence: number("sequence").unsigned_abs(),
            published: letter
                .get_datetime("published")
                .copied()
                .unwrap_or(DateTime::MIN),
        }
    }
}
