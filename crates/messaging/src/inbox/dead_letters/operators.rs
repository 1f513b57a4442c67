//! What operators see of what is put aside, and what they decide about it: another try, or to give it up.

use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use db::{Abort, TransactionError};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use serde::Serialize;

use super::{DEAD, Inbox, KeyOf, RETRYING, SKIPPED, WAITING, id, with_next};
use crate::{inbox::marks::Mark, status::time, stored::shown};

/// How much of a consumer's is put aside.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboxStatus {
    pub consumer: String,
    /// Messages whose predecessor is missing, or waits itself.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub oldest_waiting_seconds: Option<f64>,
    /// Messages that their handler wants again.
    pub retrying: u64,
    /// Messages that only an operator can help.
    pub dead: u64,
}

/// A message that is put aside, without its content.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    pub consumer: String,
    /// `None` where the message tells none.
    pub key: Option<String>,
    pub version: Option<i64>,
    /// In the stream.
    pub sequence: Option<i64>,
    pub state: Option<String>,
    pub reason: Option<String>,
    pub r#type: Option<String>,
    pub message_id: Option<String>,
    pub attempts: Option<i64>,
    /// RFC 3339, as all times here.
    pub at: Option<String>,
    pub next_at: Option<String>,
}

impl From<&RawDocument> for DeadLetter {
    fn from(letter: &RawDocument) -> Self {
        let id = letter.get_document("_id").ok();
        Self {
            consumer: id.and_then(|id| shown(id, "consumer")).unwrap_or_default(),
            key: id.and_then(|id| shown(id, "key")),
            version: id.and_then(|id| id.get_i64("version").ok()),
            sequence: letter.get_i64("sequence").ok(),
            state: shown(letter, "state"),
            reason: shown(letter, "reason"),
            r#type: shown(letter, "type"),
            message_id: shown(letter, "messageId"),
            attempts: letter.get_i64("attempts").ok(),
            at: time(letter, "at"),
            next_at: time(letter, "nextAt"),
        }
    }
}

/// What holds a key back, as somebody was shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownLetter {
    pub version: i64,
    /// For one that is missing before it, which a skip gives up in its place.
    pub waits: bool,
}

/// What was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SkippedVersions {
    pub from: i64,
    /// The last of them.
    pub to: i64,
}

/// What makes dead letters be tried at once.
fn tried_at_once() -> Vec<Document> {
    let again = doc! { "$set": { "state": RETRYING, "panics": 0_i64, "delayMs": 0_i64 } };
    vec![again, with_next()]
}

impl Inbox {
    /// What is put aside, by key and version: of one state, or of all but what was given up.
    ///
    /// # Errors
    /// The driver's.
    pub async fn list(
        &self,
        consumer: &str,
        state: Option<&str>,
        limit: i64,
    ) -> mongodb::error::Result<Vec<DeadLetter>> {
        let state = state.map_or(doc! { "$ne": SKIPPED }, |state| doc! { "$eq": state });
        let letters = self.dead_letters::<RawDocumentBuf>();
        let found = letters
            .find(doc! { "_id.consumer": consumer, "state": state })
            .sort(doc! { "_id.consumer": 1, "_id.key": 1, "_id.version": 1 })
            .limit(limit)
            .projection(doc! { "headers": 0, "payload": 0 });
        let found: Vec<_> = found.await?.try_collect().await?;
        Ok(found
            .iter()
            .map(|letter| DeadLetter::from(&**letter))
            .collect())
    }

    /// Lets every dead letter be tried at once; how many. An instance that runs does so within a second.
    ///
    /// # Errors
    /// The driver's.
    pub async fn retry_all(&self, consumer: &str) -> mongodb::error::Result<u64> {
        let all =
            doc! { "_id.consumer": consumer, "state": DEAD, "_id.key": { "$type": "string" } };
        let letters = self.dead_letters::<Document>();
        let retried = letters.update_many(all, tried_at_once()).await?;
        Ok(retried.matched_count)
    }

    /// The same of a key's first dead letter, or of the one of this version. Its version, where there is such a one.
    ///
    /// # Errors
    /// The driver's.
    pub async fn retry(
        &self,
        consumer: &str,
        key: &str,
        version: Option<i64>,
    ) -> mongodb::error::Result<Option<i64>> {
        let states = doc! { "$in": [DEAD, RETRYING] };
        let mut of_key = doc! { "_id.consumer": consumer, "_id.key": key, "state": states };
        if let Some(version) = version {
            of_key.insert("_id.version", version);
        }
        let letters = self.dead_letters::<RawDocumentBuf>();
        // At once, so that one that is given up meanwhile stays so.
        let first = letters
            .find_one_and_update(of_key, tried_at_once())
            .sort(doc! { "_id.version": 1 })
            .projection(doc! { "_id": 1 });
        let retried = first.await?;
        Ok(retried.and_then(|letter| letter.get_document("_id").ok()?.get_i64("version").ok()))
    }

    /// Gives up what holds a key back, for a reason that is kept: the first message of the key that is put aside, or where its predecessor is
    /// missing, all that is missing before it. What waits behind goes on within a second. `None` where nothing holds the key back.
    ///
    /// # Errors
    /// The database's.
    pub async fn skip(
        &self,
        consumer: &str,
        key: &str,
        reason: &str,
    ) -> Result<Option<SkippedVersions>, db::Error> {
        self.skip_if(consumer, key, None, reason).await
    }

    /// The same where that is still what somebody was shown; `None` where it is not.
    ///
    /// # Errors
    /// The database's.
    pub async fn skip_shown(
        &self,
        consumer: &str,
        key: &str,
        shown: ShownLetter,
        reason: &str,
    ) -> Result<Option<SkippedVersions>, db::Error> {
        self.skip_if(consumer, key, Some(shown), reason).await
    }

    async fn skip_if(
        &self,
        consumer: &str,
        key: &str,
        shown: Option<ShownLetter>,
        reason: &str,
    ) -> Result<Option<SkippedVersions>, db::Error> {
        let [consumer, key, reason] = [consumer, key, reason].map(str::to_owned);
        let context = (self.clone(), consumer, key, shown, reason);
        let skipped = self.db.transaction(context, |session, context| {
            Box::pin(async move {
                let (inbox, consumer, key, shown, reason) = context;
                let of = KeyOf { consumer, key };
                let skipped = inbox.skip_first(session, of, *shown, reason).await?;
                Ok::<_, Abort<std::convert::Infallible>>(skipped)
            })
        });
        skipped.await.map_err(|error| match error {
            TransactionError::Failed(error) => error,
            TransactionError::Refused(never) => match never {},
        })
    }

    async fn skip_first(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        shown: Option<ShownLetter>,
        reason: &str,
    ) -> mongodb::error::Result<Option<SkippedVersions>> {
        let mark = self.mark(session, of).await?;
        let reached = mark.as_ref().and_then(|mark: &Mark| mark.version);
        let aside = self.aside_from(session, of, 0).await?;
        let Some(first) = aside.first() else {
            return Ok(None);
        };
        let next = reached.map_or(0, |reached| reached.saturating_add(1));
        let is_gap = first.state == WAITING;
        let is_it = |shown| {
            let first = ShownLetter {
                version: first.version,
                waits: is_gap,
            };
            shown == first
        };
        if !shown.is_none_or(is_it) {
            return Ok(None);
        }
        let to = if is_gap {
            first.version - 1
        } else {
            first.version
        };
        if to < next {
            // It is applied as soon as somebody looks.
            self.set_due(session, of, first.version, Duration::ZERO)
                .await?;
            return Ok(None);
        }
        let skip = doc! { "state": SKIPPED, "skip.reason": reason };
        let mut change = doc! { "$set": skip, "$currentDate": { "skip.at": true } };
        if is_gap {
            change.insert("$setOnInsert", doc! { "missingFrom": next });
        }
        let letters = self.dead_letters::<Document>();
        let given_up = letters.update_one(doc! { "_id": id(of, to) }, change);
        given_up.upsert(is_gap).session(&mut *session).await?;
        let known = if is_gap { "" } else { &first.message_id };
        self.move_mark_to(session, of, mark.as_ref(), to, known)
            .await?;
        let behind = aside.iter().find(|aside| aside.version > to);
        if let Some(behind) = behind.filter(|behind| behind.version == to + 1) {
            self.set_due(session, of, behind.version, Duration::ZERO)
                .await?;
        }
        let from = if is_gap { next } else { to };
        Ok(Some(SkippedVersions { from, to }))
    }

    /// Gives a message up that tells no key or no version; whether there was one at this place in the stream.
    ///
    /// # Errors
    /// The driver's.
    pub async fn skip_unplaced(
        &self,
        consumer: &str,
        sequence: i64,
        reason: &str,
    ) -> mongodb::error::Result<bool> {
        let unplaced = doc! { "_id.consumer": consumer, "_id.key": null, "_id.sequence": sequence, "state": DEAD };
        let skip = doc! { "$set": { "state": SKIPPED, "skip.reason": reason }, "$currentDate": { "skip.at": true } };
        let letters = self.dead_letters::<Document>();
        let skipped = letters.update_many(unplaced, skip).await?;
        Ok(skipped.modified_count > 0)
    }
}
