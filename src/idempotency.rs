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
    db::{Db, Refused, error_code},
    error::Error,
};

const ANSWERS: &str = "answers";
/// How long an answer is given again.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_KEY: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: Id,
    fingerprint: String,
    answer: Answer,
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
    let answers = db.collection::<Stored>(ANSWERS);
    let run = Arc::new(run);
    let now = DateTime::now();
    db.transaction(move |session| {
        let (run, answers, attempt) = (Arc::clone(&run), answers.clone(), attempt.clone());
        async move {
            let Some(Attempt { id, fingerprint }) = attempt else {
                return Ok(run(session).await?.map(Outcome::Done));
            };
            let filter = doc! { "_id": serialize_to_bson(&id)? };
            match answers.find_one(filter).session(&mut *session).await? {
                Some(first) if first.fingerprint == fingerprint => {
                    return Ok(Ok(Outcome::Repeated(first.answer)));
                }
                Some(_) => return Ok(Err(Error::KeyReused)),
                None => {}
            }
            let done = match run(session).await? {
                Ok(done) => done,
                Err(refused) => return Ok(Err(refused)),
            };
            let stored = Stored {
                id,
                fingerprint,
                answer: answer(&done),
                created_at: now,
            };
            match answers.insert_one(stored).session(session).await {
                // An error, so that what `run` wrote is not committed.
                Err(error) if is_under_way(&error) => Err(MongoError::custom(Refused(
                    "a request with this Idempotency-Key is under way",
                ))),
                inserted => inserted.map(|_| Ok(Outcome::Done(done))),
            }
        }
        .boxed()
    })
    .await?
}

/// Whether another transaction has written the same key, and has or has not committed.
fn is_under_way(error: &MongoError) -> bool {
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
pub async fn prepare(db: &Db) -> MongoResult<()> {
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
