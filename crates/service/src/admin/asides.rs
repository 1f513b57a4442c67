//! What is parked or put aside, why, and with which payload.

mod decisions;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bson::oid::ObjectId;
use db::{Db, cause};
use messaging::{DeadLetter, EventType, Inbox, JetStream, Outbox, Waiting};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use super::{Sources, access::Operator};

pub(crate) use decisions::{retry, skip};

/// Of the parked events, and of each state of each consumer.
const MOST_SHOWN: i64 = 50;
/// A list is shown to all who ask within this time.
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
    listed: Mutex<Option<(Instant, Arc<Listed>)>>,
    places: Semaphore,
}

#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    parked: Vec<Waiting>,
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
    sequence: Option<i64>,
    #[serde(default)]
    reason: String,
}

enum Named<'a> {
    Event(ObjectId),
    Key(&'static str, &'a str),
    Sequence(&'static str, i64),
}

/// Why nothing was done, in words for the page.
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
            format!("the database did not do it: {}", cause(&error)),
        )
    }
}

fn not_there() -> NotDone {
    NotDone(
        StatusCode::NOT_FOUND,
        "it is not put aside any more".to_owned(),
    )
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
            listed: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }

    /// Runs a question to its end in a task of its own, and waits for it for [`LIMIT`] at most.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, NotDone> {
        let Ok(_place) = self.places.try_acquire() else {
            let busy = "others are asking; try again in a moment".to_owned();
            return Err(NotDone(StatusCode::SERVICE_UNAVAILABLE, busy));
        };
        Ok(self.db.bounded(LIMIT, question).await?)
    }

    async fn list(&self) -> Result<Arc<Listed>, NotDone> {
        // Whoever comes meanwhile waits for the same.
        let mut listed = self.listed.lock().await;
        if let Some((at, listed)) = &*listed
            && at.elapsed() < LIST_COUNTS_FOR
        {
            return Ok(Arc::clone(listed));
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
        let read = self.db.bounded(LIMIT, read).await?;
        *listed = Some((Instant::now(), Arc::clone(&read)));
        Ok(read)
    }

    fn named<'a>(&self, which: &'a Which) -> Result<Named<'a>, NotDone> {
        let wants = "name an event, or a consumer with a key or a sequence";
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
        match (&which.key, which.sequence) {
            (Some(key), _) => Ok(Named::Key(consumer, key)),
            (None, Some(sequence)) => Ok(Named::Sequence(consumer, sequence)),
            (None, None) => Err(invalid(wants)),
        }
    }

    async fn payload(&self, which: Which) -> Result<String, NotDone> {
        let named = self.named(&which)?;
        let payload = match named {
            Named::Event(id) => {
                let outbox = self.outbox.clone();
                self.ask(async move { outbox.payload(id).await }).await?
            }
            Named::Key(consumer, _) | Named::Sequence(consumer, _) => {
                let inbox = self.inbox.clone();
                let read = async move {
                    let place = (which.key.as_deref(), which.version, which.sequence);
                    inbox.payload(consumer, place).await
                };
                self.ask(read).await?
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
