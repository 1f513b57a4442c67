//! What a page shows of what is put aside, at a cost that does not grow with how much that is.

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;

use super::{DEAD, DeadLetter, Inbox, LONGEST_REASON, RETRYING, WAITING};
use crate::stored::shortened;

impl Inbox {
    /// Some of what a consumer has put aside, `most` of each state at most: what is dead, what is tried again, and what waits. Its texts are
    /// cut, but for the key, by which it is named: the inbox takes none of more than 1,024 bytes.
    ///
    /// # Errors
    /// The driver's.
    pub async fn first_aside(
        &self,
        consumer: &str,
        most: i64,
    ) -> mongodb::error::Result<Vec<DeadLetter>> {
        let mut all = Vec::new();
        for state in [DEAD, RETRYING, WAITING] {
            let letters = self.dead_letters::<RawDocumentBuf>();
            let found = letters
                .find(doc! { "_id.consumer": consumer, "state": state })
                // As the index has them.
                .sort(doc! { "_id.consumer": 1, "state": 1, "nextAt": 1 })
                .limit(most)
                .projection(doc! { "headers": 0, "payload": 0 });
            let found: Vec<_> = found.await?.try_collect().await?;
            all.extend(found.iter().map(|letter| cut(DeadLetter::from(&**letter))));
        }
        Ok(all)
    }

    /// The payload of a message that is put aside, as far as it is text: of a key and version, or of one without them by its place in the
    /// stream. An empty one where the stream alone has it, because it is too large.
    ///
    /// # Errors
    /// The driver's.
    pub async fn payload(
        &self,
        consumer: &str,
        (key, version, sequence): (Option<&str>, Option<i64>, Option<i64>),
    ) -> mongodb::error::Result<Option<String>> {
        let one = match (key, version) {
            (Some(key), Some(version)) => {
                doc! { "_id": { "consumer": consumer, "key": key, "version": version } }
            }
            _ => {
                doc! { "_id.consumer": consumer, "_id.key": null, "_id.sequence": sequence }
            }
        };
        let letters = self.dead_letters::<Document>();
        let payload = doc! { "_id": 0, "payload": 1 };
        let letter = letters.find_one(one).projection(payload).await?;
        Ok(letter.map(|letter| match letter.get("payload") {
            Some(Bson::Binary(payload)) => String::from_utf8_lossy(&payload.bytes).into_owned(),
            _ => String::new(),
        }))
    }
}

fn cut(letter: DeadLetter) -> DeadLetter {
    let reason = letter
        .reason
        .map(|reason| reason.chars().take(LONGEST_REASON).collect());
    DeadLetter {
        r#type: letter.r#type.as_deref().map(shortened),
        message_id: letter.message_id.as_deref().map(shortened),
        reason,
        ..letter
    }
}
