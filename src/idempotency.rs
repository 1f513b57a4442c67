//! Safe retries: a write that comes with an `Idempotency-Key` is done once, and its answer is given again.
//! The answer is stored in the write's own transaction, so that there is never one without the other.
//! See draft-ietf-httpapi-idempotency-key-header.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bson::{DateTime, doc, serialize_to_bson};
use futures_util::{FutureExt, future::BoxFuture};
use mongodb::{
    ClientSession, IndexModel,
    error::{Error as MongoError, ErrorKind, Result as MongoResult, WriteFailure},
    options::IndexOptions,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    auth::User,
    db::{Db, error_code},
    error::Error,
    sabotage,
};

const ANSWERS: &str = "answers";
/// How long an answer is given again.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_KEY: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The request's key, where it has one, with what it is the key of.
pub struct IdempotencyKey {
    key: Option<String>,
    request: String,
}

/// One attempt of a request that may come again.
#[derive(Debug, Clone)]
pub struct Attempt {
    id: Id,
    fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Id {
    user: String,
    key: String,
}

/// An answer as it is stored and given again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    pub etag: String,
    /// JSON.
    pub body: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: Id,
    fingerprint: String,
    /// Always there once the transaction is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
    created_at: DateTime,
}

/// What came of a write.
pub enum Outcome<T> {
    Done(T),
    /// It was done before; the answer of then.
    Repeated(Answer),
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let request = format!("{} {}", parts.method, parts.uri.path());
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(Self { key: None, request });
        };
        // The draft's form is a string in quotes; many clients send it bare.
        let key = value.to_str().unwrap_or_default().trim();
        let key = key
            .strip_prefix('"')
            .and_then(|key| key.strip_suffix('"'))
            .unwrap_or(key);
        let fits = (1..=LONGEST_KEY).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic());
        match fits {
            true => Ok(Self {
                key: Some(key.to_owned()),
                request,
            }),
            false => Err(Error::invalid(
                "Idempotency-Key must be 1 to 255 visible ASCII characters, such as a UUID",
            )),
        }
    }
}

impl IdempotencyKey {
    /// The attempt of `user`; `body` is the request's, as it came.
    pub fn attempt(self, user: &User, body: &str) -> Option<Attempt> {
        let id = Id {
            user: user.id.clone(),
            key: self.key?,
        };
        let digest = Sha256::new()
            .chain_update(self.request)
            .chain_update("\n")
            .chain_update(body)
            .finalize();
        let fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Attempt { id, fingerprint })
    }
}

/// Runs `run` in a transaction, which stores its answer as well; or finds the answer that is stored already.
/// Without an attempt it is a transaction like any other. What `run` refuses is not stored.
///
/// # Errors
/// What `run` refuses; 409 while the same request is under way, 422 where the key is another request's; and those of
/// [`Db::transaction`].
pub async fn transaction<T, F>(
    db: &Db,
    attempt: Option<Attempt>,
    answer: fn(&T) -> Answer,
    run: F,
) -> Result<Outcome<T>, Error>
where
    F: for<'a> Fn(&'a mut ClientSession) -> BoxFuture<'a, MongoResult<Result<T, Error>>>
        + Send
        + Sync
        + 'static,
    T: Send + Sync + 'static,
{
    let attempt = attempt.filter(|_| !sabotage::is("no-idempotency"));
    let Some(attempt) = attempt else {
        return db.transaction(run).await.map(Outcome::Done);
    };
    let answers = db.collection::<Stored>(ANSWERS);
    let claim = Stored {
        id: attempt.id.clone(),
        fingerprint: attempt.fingerprint.clone(),
        answer: None,
        created_at: DateTime::now(),
    };
    let run = Arc::new(run);
    let done = db.transaction(move |session| {
        let (run, answers, claim) = (Arc::clone(&run), answers.clone(), claim.clone());
        async move {
            // Before anything else, so that the second of two at once is refused whatever it would meet.
            match answers.insert_one(&claim).session(&mut *session).await {
                Err(error) if is_taken(&error) => {
                    session.abort_transaction().await?;
                    return Ok(Err(Error::KeyInUse));
                }
                inserted => inserted?,
            };
            let id = doc! { "_id": serialize_to_bson(&claim.id)? };
            let done = match run(session).await? {
                Ok(done) => done,
                Err(refused) => {
                    answers.delete_one(id).session(session).await?;
                    return Ok(Err(refused));
                }
            };
            let answer = doc! { "$set": { "answer": serialize_to_bson(&answer(&done))? } };
            answers.update_one(id, answer).session(session).await?;
            Ok(Ok(done))
        }
        .boxed()
    });
    match done.await {
        Err(Error::KeyInUse) => first_answer(db, attempt).await.map(Outcome::Repeated),
        done => done.map(Outcome::Done),
    }
}

/// The answer of the request that has the key, if it is the same request and has ended.
async fn first_answer(db: &Db, attempt: Attempt) -> Result<Answer, Error> {
    let answers = db.collection::<Stored>(ANSWERS);
    let found = async move {
        let id = doc! { "_id": serialize_to_bson(&attempt.id)? };
        answers.find_one(id).await
    };
    match db.read(found).await? {
        Some(first) if first.fingerprint != attempt.fingerprint => Err(Error::KeyReused),
        first => first.and_then(|first| first.answer).ok_or(Error::KeyInUse),
    }
}

/// Whether another transaction has written the same key, and has or has not committed.
fn is_taken(error: &MongoError) -> bool {
    const WRITE_CONFLICT: i32 = 112;
    const DUPLICATE_KEY: i32 = 11000;
    let write = match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    };
    error_code(error) == Some(WRITE_CONFLICT) || write == Some(DUPLICATE_KEY)
}

/// Makes the collection and the index that forgets answers.
///
/// # Errors
/// The driver's.
pub async fn prepare(db: &Db) -> mongodb::error::Result<()> {
    let forgets = IndexOptions::builder().expire_after(KEPT_FOR).build();
    let forgets = IndexModel::builder()
        .keys(doc! { "createdAt": 1 })
        .options(forgets)
        .build();
    db.ensure_collection(ANSWERS, [forgets]).await
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::ETAG, self.etag),
        ];
        let location = self.location.map(|location| [(header::LOCATION, location)]);
        match location {
            Some(location) => (status, headers, location, self.body).into_response(),
            None => (status, headers, self.body).into_response(),
        }
    }
}

impl Answer {
    /// The answer, saying that it is not the first time.
    pub fn replayed(self) -> Response {
        ([(REPLAYED, "true")], self).into_response()
    }
}

#[cfg(test)]
mod tests;
