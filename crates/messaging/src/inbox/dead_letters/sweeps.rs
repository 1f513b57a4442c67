//! Which of what is put aside is to be tried now.

use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::ClientSession;

use super::{super::consumer::Order, Inbox, KeyOf, RETRYING, WAITING, id, with_next};

/// A version of a key that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) after: Duration,
}

impl Due {
    fn of(letter: &RawDocument, key: &str, version: &str) -> Option<Self> {
        let id = letter.get_document("_id").ok()?;
        let ms = letter.get_i64("dueMs").unwrap_or_default();
        Some(Self {
            key: id.get_str(key).ok()?.to_owned(),
            version: id.get_i64(version).ok()?,
            after: Duration::from_millis(u64::try_from(ms).unwrap_or_default()),
        })
    }
}

impl Inbox {
    /// Lets what waits be tried after this, by any instance.
    pub(crate) async fn set_due(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        version: i64,
        after: Duration,
    ) -> mongodb::error::Result<()> {
        let letters = self.dead_letters::<Document>();
        let delay = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        let due = doc! { "$set": { "state": RETRYING, "delayMs": delay } };
        let due = letters.update_one(doc! { "_id": id(of, version) }, vec![due, with_next()]);
        due.session(session).await.map(drop)
    }

    /// What is to be tried again, the next first; `most` at most. The times are the server's.
    pub(crate) async fn due(
        self,
        consumer: &'static str,
        most: i64,
    ) -> mongodb::error::Result<Vec<Due>> {
        let pipeline = [
            doc! { "$match": { "_id.consumer": consumer, "state": RETRYING } },
            doc! { "$sort": { "nextAt": 1 } },
            doc! { "$limit": most },
            doc! { "$project": { "dueMs": { "$subtract": ["$nextAt", "$$NOW"] } } },
        ];
        let letters = self.dead_letters::<Document>().aggregate(pipeline).await?;
        let letters: Vec<RawDocumentBuf> = letters.with_type().try_collect().await?;
        let due = letters
            .iter()
            .filter_map(|it| Due::of(it, "key", "version"));
        Ok(due.collect())
    }

    /// The first of each key that waits although nothing is missing before it, or although nothing of the key was applied yet: whether it may
    /// begin there, the stream has to be asked. Of newest only the last that waits, since nothing is missing. In the order of the keys, from
    /// behind the one that is given: so each gets its turn. Reads the index alone.
    pub(crate) async fn stuck(
        self,
        (consumer, order): (&'static str, Order),
        after: Option<String>,
        most: i64,
    ) -> mongodb::error::Result<Vec<Due>> {
        let is_each = order == Order::EachVersion;
        let which = if is_each { "$min" } else { "$max" };
        let first = doc! { "_id": { "key": "$_id.key" }, "version": { which: "$_id.version" } };
        let mark = [
            doc! { "$match": { "$expr": { "$eq": ["$_id", { "consumer": consumer, "key": "$$key" }] } } },
            doc! { "$project": { "version": 1 } },
        ];
        let reached = doc! { "$first": "$mark.version" };
        let next = doc! { "$lte": ["$version", { "$add": [{ "$ifNull": ["$reached", "$version"] }, 1_i64] }] };
        let is_stuck = if is_each {
            doc! { "$expr": next }
        } else {
            doc! {}
        };
        let mut waiting = doc! { "_id.consumer": consumer, "state": WAITING };
        if let Some(after) = after {
            waiting.insert("_id.key", doc! { "$gt": after });
        }
        let pipeline = [
            doc! { "$match": waiting },
            doc! { "$group": first },
            doc! { "$lookup": {
                "from": super::super::marks::INBOX, "let": { "key": "$_id.key" }, "pipeline": mark.to_vec(), "as": "mark",
            } },
            doc! { "$set": { "reached": reached } },
            doc! { "$match": is_stuck },
            doc! { "$sort": { "_id.key": 1 } },
            doc! { "$limit": most },
            doc! { "$project": { "_id": { "key": "$_id.key", "version": "$version" } } },
        ];
        let letters = self.dead_letters::<Document>().aggregate(pipeline).await?;
        let letters: Vec<RawDocumentBuf> = letters.with_type().try_collect().await?;
        let stuck = letters
            .iter()
            .filter_map(|it| Due::of(it, "key", "version"));
        Ok(stuck.collect())
    }
}
