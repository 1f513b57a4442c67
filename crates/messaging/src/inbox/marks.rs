//! The marks: up to which version a consumer has applied the messages of a key. One document for each key, whatever its history.

use bson::{Document, doc};
use db::Db;
use mongodb::{ClientSession, Collection};
use serde::Deserialize;

use super::envelope::Envelope;

pub(super) const INBOX: &str = "inbox";

/// What a service's consumers have applied, and what they could not, in its database.
#[derive(Debug, Clone)]
pub struct Inbox {
    pub(crate) db: Db,
}

/// A key of a consumer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyOf<'a> {
    pub(crate) consumer: &'a str,
    pub(crate) key: &'a str,
}

impl KeyOf<'_> {
    fn id(self) -> Document {
        doc! { "consumer": self.consumer, "key": self.key }
    }
}

/// How far a key has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    /// The last version that is applied; none where something was put aside before any was.
    pub(crate) version: Option<i64>,
    #[serde(default)]
    pub(crate) message_id: String,
    /// How often something of the key was put aside, while any of it is. Each time counts, so that whoever puts aside and whoever applies
    /// write the same document: one of two at once meets a conflict, and sees what the other did.
    pub(crate) put_aside: Option<i64>,
}

impl Inbox {
    /// Of the service whose database it is. Nothing is read or written yet.
    pub fn new(db: &Db) -> Self {
        Self { db: db.clone() }
    }

    /// Makes the collections and their indexes.
    ///
    /// # Errors
    /// The driver's.
    pub async fn prepare(&self) -> mongodb::error::Result<()> {
        self.db.ensure_collection(INBOX, []).await?;
        self.prepare_dead_letters().await
    }

    fn marks<T: Send + Sync>(&self) -> Collection<T> {
        self.db.collection(INBOX)
    }

    pub(crate) async fn mark(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
    ) -> mongodb::error::Result<Option<Mark>> {
        let marks = self.marks::<Mark>();
        marks
            .find_one(doc! { "_id": of.id() })
            .session(session)
            .await
    }

    /// Moves the mark, which was `from`, to a message that is applied. `is_clear`: nothing of the key is put aside any more.
    pub(crate) async fn move_mark(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        from: Option<&Mark>,
        to: &Envelope,
        is_clear: bool,
    ) -> mongodb::error::Result<()> {
        let moved = doc! { "version": to.version, "messageId": &to.message_id };
        let mut change = doc! { "$set": moved };
        if is_clear && from.is_some_and(|mark| mark.put_aside.is_some()) {
            change.insert("$unset", doc! { "putAside": "" });
        }
        self.change(session, of, from, change).await
    }

    /// Moves the mark, which was `from`, to a version that an operator gave up; `message_id` is empty where none of it is known.
    pub(super) async fn move_mark_to(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        from: Option<&Mark>,
        version: i64,
        message_id: &str,
    ) -> mongodb::error::Result<()> {
        let change = doc! { "$set": { "version": version, "messageId": message_id } };
        self.change(session, of, from, change).await
    }

    /// Writes to the mark, which was `from`, that something of the key is put aside.
    pub(crate) async fn note_put_aside(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        from: Option<&Mark>,
    ) -> mongodb::error::Result<()> {
        let change = doc! { "$inc": { "putAside": 1_i64 } };
        self.change(session, of, from, change).await
    }

    /// By a condition, although the transaction has read it: the snapshot and the condition have to fail both before anything is applied
    /// twice.
    async fn change(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        from: Option<&Mark>,
        change: Document,
    ) -> mongodb::error::Result<()> {
        let marks = self.marks::<Document>();
        let version = from.and_then(|mark| mark.version);
        let known = doc! { "_id": of.id(), "version": version };
        // What is not there is inserted; two at once meet a conflict.
        let changed = marks.update_one(known, change).upsert(from.is_none());
        let changed = changed.session(session).await?;
        if changed.matched_count == 0 && changed.upserted_id.is_none() {
            let message = "the mark is not what the transaction has read".to_owned();
            return Err(mongodb::error::Error::custom(message));
        }
        Ok(())
    }
}
