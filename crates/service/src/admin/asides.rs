//! What is parked or put aside, why, and with which payload.

mod decisions;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bson::oid::ObjectId;
use db::{Db, cause};
use messaging::{DeadLetter, EventType, Inbox, JetStream, Outbox, ParkedEvent, ShownLetter};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use super::{Sources, access::Operator};

pub(crate) use decisions::{retry, skip};

/// Of the parked events, and of each state of each consumer.
const MOST_SHOWN: i64 = 50;
/// A list is shown to all who ask within this time, and so is that it could not be read.
const LIST_COUNTS_FOR: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(5);
/// Questions to the database at once, of all viewers.
const AT_ONCE: usize = 2;
/// In bytes.
const LARGEST_SHOWN: usize = 64 * 1024;

/// Where what is put aside stands.
pub(crate) struct Asides {
    db: Db,
    outbox: Outbox,
    inbox: Inbox,
    consumers: Vec<&'static str>,
    events: &'static [EventType],
    /// `None` where this process does not publish.
    jetstream: Option<JetStream>,
    last_list: Mutex<Option<LastList>>,
    /// The lists of before count no more.
    decisions: AtomicU64,
    /// Of the list, which decisions do not wait for; and of all else.
    list_place: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

struct LastList {
    at: Instant,
    decisions: u64,
    listed: Result<Arc<Listed>, NotDone>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    parked: Vec<ParkedEvent>,
    letters: Vec<DeadLetter>,
}

/// An event, or a message of a consumer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    event: Option<String>,
    consumer: Option<String>,
    key: Option<String>,
    version: Option<i64>,
    /// Whether it was shown as one that waits.
    #[serde(default)]
    waits: bool,
    sequence: Option<i64>,
    #[serde(default)]
    reason: String,
}

enum Named<'a> {
    Event(ObjectId),
    Letter(&'static str, &'a str, ShownLetter),
    Sequence(&'static str, i64),
}

/// Why there is no answer, in words for the page. With a status of 4xx, nothing was done; with another, nobody knows.
#[derive(Clone)]
pub(crate) struct NotDone(StatusCode, String);

impl IntoResponse for NotDone {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<mongodb::error::Error> for NotDone {
    fn from(error: mongodb::error::Error) -> Self {
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the database did not answer: {}", cause(&error)),
        )
    }
}

fn not_there() -> NotDone {
    NotDone(
        StatusCode::NOT_FOUND,
        "nothing is parked or dead there any more".to_owned(),
    )
}

fn busy() -> NotDone {
    let text = "others are asking; try again in a moment".to_owned();
    NotDone(StatusCode::TOO_MANY_REQUESTS, text)
}

fn invalid(text: &str) -> NotDone {
    NotDone(StatusCode::BAD_REQUEST, text.to_owned())
}

impl Asides {
    pub(crate) fn new(sources: &Sources) -> Self {
        Self {
            db: sources.db.clone(),
            outbox: Outbox::new(&sources.db),
            inbox: Inbox::new(&sources.db),
            consumers: sources.consumers.clone(),
            events: sources.events,
            jetstream: sources.publishes_to.clone(),
            last_list: Mutex::default(),
            decisions: AtomicU64::default(),
            list_place: Arc::new(Semaphore::new(1)),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Runs a question to its end in a task of its own, and waits for it for [`LIMIT`] at most. It has its place until it has ended.
    async fn ask<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        question: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, NotDone> {
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| busy())?;
        let question = async move {
            let _place = place;
            question.await
        };
        Ok(self.db.bounded(LIMIT, question).await?)
    }

    async fn list(&self) -> Result<Arc<Listed>, NotDone> {
        // Whoever comes meanwhile waits for the same.
        let mut last = self.last_list.lock().await;
        let decisions = self.decisions.load(Ordering::Relaxed);
        if let Some(last) = &*last
            && last.at.elapsed() < LIST_COUNTS_FOR
            && last.decisions == decisions
        {
            return last.listed.clone();
        }
        let (outbox, inbox, consumers) = (
            self.outbox.clone(),
            self.inbox.clone(),
            self.consumers.clone(),
        );
        let read = async move {
            let parked = outbox.first_parked(MOST_SHOWN).await?;
            let mut letters = Vec::new();
            for consumer in consumers {
                letters.extend(inbox.first_aside(consumer, MOST_SHOWN).await?);
            }
            Ok(Arc::new(Listed { parked, letters }))
        };
        let listed = self.ask(&self.list_place, read).await;
        *last = Some(LastList {
            at: Instant::now(),
            decisions,
            listed: listed.clone(),
        });
        listed
    }

    fn named<'a>(&self, which: &'a Which) -> Result<Named<'a>, NotDone> {
        let wants = "name an event, or a consumer with a key and a version, or with a sequence";
        if let Some(event) = &which.event {
            let id = ObjectId::parse_str(event)
                .map_err(|_| invalid("an event has an id of 24 hexadecimal digits"))?;
            return Ok(Named::Event(id));
        }
        let is_it = |name: &&&str| Some(**name) == which.consumer.as_deref();
        let consumer = self
            .consumers
            .iter()
            .find(is_it)
            .ok_or_else(|| invalid(wants))?;
        match (&which.key, which.version, which.sequence) {
            (Some(key), Some(version), _) => {
                let waits = which.waits;
                Ok(Named::Letter(consumer, key, ShownLetter { version, waits }))
            }
            (None, _, Some(sequence)) => Ok(Named::Sequence(consumer, sequence)),
            _ => Err(invalid(wants)),
        }
    }

    async fn payload(&self, which: Which) -> Result<String, NotDone> {
        let named = self.named(&which)?;
        let payload = match named {
            Named::Event(id) => {
                let outbox = self.outbox.clone();
                let read = async move { outbox.payload(id).await };
                self.ask(&self.places, read).await?
            }
            Named::Letter(consumer, ..) | Named::Sequence(consumer, _) => {
                let inbox = self.inbox.clone();
                let read = async move {
                    let place = (which.key.as_deref(), which.version, which.sequence);
                    inbox.payload(consumer, place).await
                };
                self.ask(&self.places, read).await?
            }
        };
        let mut payload = payload.ok_or_else(not_there)?;
        if payload.len() > LARGEST_SHOWN {
            let whole = payload.len();
            payload.truncate(payload.floor_char_boundary(LARGEST_SHOWN));
            payload += &format!("\n… {whole} bytes in all");
        }
        Ok(payload)
    }
}

pub(crate) async fn list(
    State(asides): State<Arc<Asides>>,
    _: Operator,
) -> Result<Response, NotDone> {
    Ok(Json(&*asides.list().await?).into_response())
}

/// Text, whatever it is: a browser does not guess.
pub(crate) async fn payload(
    State(asides): State<Arc<Asides>>,
    _: Operator,
    Query(which): Query<Which>,
) -> Result<Response, NotDone> {
    let text = asides.payload(which).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
