//! Puts messages aside.

use std::collections::HashMap;

use bson::{Binary, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use futures_util::TryStreamExt;
use mongodb::ClientSession;

use super::{Aside, Conflict, Inbox, KeyOf, Letter, Put, Verdict, WAITING, id, with_next};
use crate::{
    JetStream,
    inbox::{
        envelope::{Envelope, message_id, shortened, type_of},
        message::Message,
    },
};

/// In bytes: with all else in a document, which may have 16 MiB. The stream keeps what is larger.
const LARGEST_CONTENT: usize = 15 * 1024 * 1024;

/// What is kept of a message, but for its `_id` and the times.
fn kept(
    message: &Message,
    stream: &str,
    (message_id, r#type): (&str, &str),
    verdict: &Verdict,
) -> Document {
    let mut kept = doc! {
        "state": verdict.state, "reason": verdict.reason(), "attempts": verdict.attempts, "panics": verdict.panics,
        "delayMs": verdict.delay_ms(), "type": r#type, "messageId": message_id, "stream": stream,
        "sequence": message.sequence as i64, "published": message.published, "subject": &message.subject,
    };
    if message.size() <= LARGEST_CONTENT {
        kept.insert("headers", binary(&message.headers));
        kept.insert("payload", binary(&message.payload));
    }
    kept
}

fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

impl Inbox {
    /// Puts messages of one key aside, in the caller's transaction; those that are put aside already stay as they are, but for the first
    /// where `verdict` is new.
    pub(crate) async fn put_aside(
        &self,
        session: &mut ClientSession,
        (of, stream): (KeyOf<'_>, &str),
        letters: &[Letter<'_>],
    ) -> mongodb::error::Result<Put> {
        let mut there = self.those_aside(session, of, letters).await?;
        let (mut new, mut put) = (HashMap::new(), Put::default());
        for letter in letters {
            let Envelope {
                version,
                message_id,
                r#type,
                ..
            } = letter.envelope;
            let verdict = letter.verdict;
            match there.get(version) {
                Some(aside) if aside.message_id != *message_id => put.conflicts.push(Conflict {
                    version: *version,
                    message_id: message_id.clone(),
                    known: aside.message_id.clone(),
                }),
                Some(_) if verdict.state == WAITING => {}
                Some(_) => {
                    self.judge(session, of, *version, verdict).await?;
                    put.versions.insert(*version);
                }
                None => {
                    let names = (&**message_id, &**r#type);
                    let mut kept = kept(letter.message, stream, names, verdict);
                    kept.insert("_id", id(of, *version));
                    new.insert(*version, kept);
                    put.versions.insert(*version);
                    // Another of this version may come behind it.
                    let aside = Aside {
                        version: *version,
                        state: verdict.state.to_owned(),
                        message_id: message_id.clone(),
                    };
                    there.insert(*version, aside);
                }
            }
        }
        if !new.is_empty() {
            let ids: Vec<_> = new.keys().map(|version| id(of, *version)).collect();
            let letters = self.dead_letters::<Document>();
            letters
                .insert_many(new.into_values())
                .session(&mut *session)
                .await?;
            let of_ids = doc! { "_id": { "$in": ids } };
            let at = doc! { "$set": { "at": "$$NOW" } };
            let times = letters.update_many(of_ids, vec![at, with_next()]);
            times.session(session).await?;
        }
        Ok(put)
    }

    async fn those_aside(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        letters: &[Letter<'_>],
    ) -> mongodb::error::Result<HashMap<i64, Aside>> {
        let ids = letters.iter().map(|letter| id(of, letter.envelope.version));
        let ids: Vec<_> = ids.collect();
        let there = self.dead_letters::<RawDocumentBuf>();
        let there = there
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "state": 1, "messageId": 1 });
        let mut found = there.session(&mut *session).await?;
        let mut there = HashMap::new();
        let mut letters = found.stream(session);
        while let Some(letter) = letters.try_next().await? {
            there.extend(Aside::of(&letter).map(|aside| (aside.version, aside)));
        }
        Ok(there)
    }

    /// Writes what is to become of one that was put aside before.
    async fn judge(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        version: i64,
        verdict: &Verdict,
    ) -> mongodb::error::Result<()> {
        let judged = doc! {
            "state": verdict.state, "reason": { "$literal": verdict.reason() },
            "attempts": verdict.attempts, "panics": verdict.panics, "delayMs": verdict.delay_ms(),
        };
        let change = vec![doc! { "$set": judged }, with_next()];
        let letters = self.dead_letters::<Document>();
        let one = doc! { "_id": id(of, version) };
        letters
            .update_one(one, change)
            .session(session)
            .await
            .map(drop)
    }

    /// Keeps a message whose key or version can't be told, and why: nobody waits for it. Whether it was not kept before.
    pub(crate) async fn keep(
        self,
        consumer: &'static str,
        jetstream: JetStream,
        message: Message,
        reason: String,
    ) -> mongodb::error::Result<bool> {
        let stream = jetstream.stream_name();
        let id = doc! { "consumer": consumer, "sequence": message.sequence as i64, "published": message.published };
        let (message_id, r#type) = (
            message_id(&message, stream),
            type_of(&message, jetstream.prefix()),
        );
        let names = (shortened(&message_id), shortened(&r#type));
        let kept = kept(&message, stream, names, &Verdict::unplaced(reason));
        let keep = doc! { "$setOnInsert": kept, "$currentDate": { "at": true, "nextAt": true } };
        let letters = self.dead_letters::<Document>();
        let keep = letters.update_one(doc! { "_id": id }, keep).upsert(true);
        Ok(keep.await?.upserted_id.is_some())
    }
}
