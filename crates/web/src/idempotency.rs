//! Safe retries: a write that comes with an `Idempotency-Key` is done once, and its answer is given again.
//! The answer is stored in the write's own transaction, so that there is never one without the other.
//! See draft-ietf-httpapi-idempotency-key-header.

use std::time::Duration;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use axum::{
    body::Bytes,
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, request::Parts},
};
use bson::{doc, serialize_to_bson};
use db::{Abort, Db, TransactionError, is_duplicate_key, is_write_conflict};
use futures_util::future::BoxFuture;
use mongodb::{ClientSession, Collection, IndexModel, options::IndexOptions};
use serde::{Deserialize, Serialize};

use crate::{Answer, Refusal, User, json::REPLAYED};

const ANSWERS: &str = "answers";
/// How long an answer is given again.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const LONGEST_KEY: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request's `Idempotency-Key`, where it has one, with what it is the key of.
pub struct IdempotencyKey(Option<Claim>);

/// Whose key it is, and of which request.
#[derive(Clone)]
struct Claim {
    id: ClaimId,
    fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ClaimId {
    user: String,
    key: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: ClaimId,
    fingerprint: String,
    /// Always there once the transaction is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

/// The body as it came, kept beside the request for whoever compares requests.
#[derive(Clone)]
pub(crate) struct WholeBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let mut lines = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(line) = lines.next() else {
            return Ok(Self(None));
        };
        let key = key_of(line).filter(|_| lines.next().is_none());
        let key = key.ok_or_else(|| {
            Refusal::invalid(
                "Idempotency-Key must be one string of 1 to 255 ASCII characters, such as a UUID; in quotes where it holds blanks or commas",
            )
        })?;
        let user = User::from_request_parts(parts, state).await?.id;
        let fingerprint = fingerprint(parts);
        let id = ClaimId { user, key };
        Ok(Self(Some(Claim { id, fingerprint })))
    }
}

/// The draft's form is a string in quotes (RFC 9651 §3.3.3); many clients send it bare. `None` for anything else, a list too: which of
/// its strings would count?
fn key_of(line: &HeaderValue) -> Option<String> {
    let text = line.to_str().ok()?.trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted.strip_suffix('"')?)?,
        None if text.contains([',', '"', ' ', '\t']) => return None,
        None => text.to_owned(),
    };
    // A header's text has no control character but the tab.
    ((1..=LONGEST_KEY).contains(&key.len()) && !key.contains('\t')).then_some(key)
}

/// What stands between the quotes of a string; `None` where it is no single one.
fn unquoted(text: &str) -> Option<String> {
    let (mut key, mut characters) = (String::new(), text.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' => key.push(characters.next().filter(|it| "\\\"".contains(*it))?),
            '"' => return None,
            character => key.push(character),
        }
    }
    Some(key)
}

/// Tells one request from another: method, path and body, to the byte.
fn fingerprint(parts: &Parts) -> String {
    let mut digest = Digest::new(&SHA256);
    digest.update(format!("{} {}\n", parts.method, parts.uri.path()).as_bytes());
    if let Some(WholeBody(body)) = parts.extensions.get() {
        digest.update(body);
    }
    let digest = digest.finish();
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl IdempotencyKey {
    /// Runs `write` in a transaction that stores its answer too, or gives the answer that is stored already. Without a key it is
    /// a transaction like any other. A refusal is not stored: `write` leaves nothing written then.
    ///
    /// # Errors
    /// What `write` refuses; 409 while the same request is under way, 422 where the key is another request's; and those of
    /// [`Db::transaction`].
    pub async fn once<C, R, F>(self, db: &Db, context: C, write: F) -> Result<Answer, Refusal>
    where
        C: Send + Sync + 'static,
        R: Into<Refusal> + Send + 'static,
        F: for<'a> Fn(&'a mut ClientSession, &'a C) -> BoxFuture<'a, Result<Answer, Abort<R>>>
            + Send
            + Sync
            + 'static,
    {
        let Some(claim) = self.0 else {
            return Ok(db.transaction(context, write).await?);
        };
        let answers = db.collection::<Stored>(ANSWERS);
        let done = db.transaction(
            (claim.clone(), answers, context, write),
            |session, (claim, answers, context, write)| {
                Box::pin(async move {
                    claim.take(answers, session).await?;
                    let done = write(session, context).await;
                    let done = done.map_err(|abort| abort.map(Into::into));
                    claim.conclude(answers, session, &done).await?;
                    done
                })
            },
        );
        match done.await {
            Err(TransactionError::Refused(Refusal::KeyInUse)) => {
                let first = claim.first_answer(db).await?;
                Ok(first.with_header(REPLAYED, "true"))
            }
            done => Ok(done?),
        }
    }
}

impl Claim {
    /// Before anything else, so that the second of two at once is refused whatever it would meet.
    async fn take(
        &self,
        answers: &Collection<Stored>,
        session: &mut ClientSession,
    ) -> Result<(), Abort<Refusal>> {
        let claim = Stored {
            id: self.id.clone(),
            fingerprint: self.fingerprint.clone(),
            answer: None,
        };
        match answers.insert_one(&claim).session(&mut *session).await {
            // Another transaction has written the same key, and has or has not committed.
            Err(error) if is_write_conflict(&error) || is_duplicate_key(&error) => {
                session.abort_transaction().await?;
                Err(Abort::Refused(Refusal::KeyInUse))
            }
            inserted => Ok(inserted.map(drop)?),
        }
    }

    /// Writes the answer to the claim; takes the claim back where the write was refused.
    async fn conclude(
        &self,
        answers: &Collection<Stored>,
        session: &mut ClientSession,
        done: &Result<Answer, Abort<Refusal>>,
    ) -> mongodb::error::Result<()> {
        let id = doc! { "_id": serialize_to_bson(&self.id)? };
        match done {
            Ok(answer) => {
                // Kept from now on, by the server's clock.
                let answer = doc! {
                    "$set": { "answer": serialize_to_bson(answer)? },
                    "$currentDate": { "createdAt": true },
                };
                answers
                    .update_one(id, answer)
                    .session(session)
                    .await
                    .map(drop)
            }
            Err(Abort::Refused(_)) => answers.delete_one(id).session(session).await.map(drop),
            Err(Abort::Driver(_)) => Ok(()),
        }
    }

    /// The answer of the request that has the key, if it is the same request and has ended.
    async fn first_answer(self, db: &Db) -> Result<Answer, Refusal> {
        let answers = db.collection::<Stored>(ANSWERS);
        let id = self.id;
        let found = async move {
            let id = doc! { "_id": serialize_to_bson(&id)? };
            answers.find_one(id).await
        };
        match db.read(found).await? {
            Some(first) if first.fingerprint != self.fingerprint => Err(Refusal::KeyReused),
            first => first
                .and_then(|first| first.answer)
                .ok_or(Refusal::KeyInUse),
        }
    }
}

/// Makes the collection of answers, and the index that forgets them.
///
/// # Errors
/// The driver's.
pub async fn collections(db: &Db) -> mongodb::error::Result<()> {
    let forgets = IndexOptions::builder().expire_after(KEPT_FOR).build();
    let forgets = IndexModel::builder()
        .keys(doc! { "createdAt": 1 })
        .options(forgets)
        .build();
    db.need(ANSWERS, &["remove"]);
    db.ensure_collection(ANSWERS, [forgets]).await
}

#[cfg(test)]
mod tests;
