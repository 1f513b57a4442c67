//! Reads what is unsent, key by key: a turn is the next events of one key, in the order of their versions.

use std::io;

use bson::{Bson, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Cursor, error::Result as MongoResult, options::Hint};

use tokio::task::JoinHandle;

use super::event::{Event, UNSENT_INDEX};

/// Events of one key in a turn at most: a hot key's run does not keep the others waiting.
const LONGEST_TURN: usize = 64;
const BATCH_SIZE: u32 = 1_000;
/// Behind a key with a long run comes likely another: most of a whole batch would be read in vain.
const BATCH_SIZE_BEHIND: u32 = 128;

/// Unsent events of one key, to be published one after the other.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) key: String,
    pub(super) events: Vec<Event>,
    /// What stands behind the events and can't be read: its id and why.
    pub(super) unreadable: Option<(Bson, String)>,
}

/// One walk over the backlog; each key gets one turn in it.
pub(super) struct Backlog {
    events: Collection<RawDocumentBuf>,
    cursor: Cursor<RawDocumentBuf>,
    /// The walk's continuation behind a key whose turn is full: a task, so that no driver future is dropped.
    reopening: Option<JoinHandle<MongoResult<Cursor<RawDocumentBuf>>>>,
    turn: Option<Turn>,
    /// Whether the rest of the turn's key is left for another walk.
    turn_is_full: bool,
    /// Whether that rest must wait behind an event that can't be published.
    turn_is_blocked: bool,
    /// Whether something was left for another walk.
    pub(super) left_some: bool,
}

impl Backlog {
    pub(super) async fn open(events: Collection<RawDocumentBuf>) -> MongoResult<Self> {
        let cursor = unsent_behind(&events, None).await?;
        Ok(Self {
            events,
            cursor,
            reopening: None,
            turn: None,
            turn_is_full: false,
            turn_is_blocked: false,
            left_some: false,
        })
    }

    /// The next turn. What was read stays here when the future is dropped.
    pub(super) async fn next_turn(&mut self) -> MongoResult<Option<Turn>> {
        loop {
            if let Some(reopening) = &mut self.reopening {
                let reopened = reopening.await;
                self.reopening = None;
                self.cursor = reopened.map_err(io::Error::other)??;
            }
            let Some(document) = self.cursor.try_next().await? else {
                return Ok(self.turn.take());
            };
            let key = document.get_str("key").unwrap_or_default();
            let same_key = self.turn.as_ref().is_some_and(|turn| turn.key == key);
            if same_key && self.turn_is_full {
                self.left_some |= !self.turn_is_blocked;
                let (events, key) = (self.events.clone(), key.to_owned());
                self.reopening = Some(tokio::spawn(async move {
                    unsent_behind(&events, Some(&key)).await
                }));
                continue;
            }
            let finished = if same_key { None } else { self.turn.take() };
            let turn = self.turn.get_or_insert_with(|| Turn {
                key: key.to_owned(),
                ..Turn::default()
            });
            self.turn_is_blocked = is_parked(&document);
            match bson::deserialize_from_slice::<Event>(document.as_bytes()) {
                _ if self.turn_is_blocked => {}
                Ok(event) => turn.events.push(event),
                Err(error) => {
                    let id = document
                        .get("_id")
                        .ok()
                        .flatten()
                        .and_then(|id| Bson::try_from(id).ok());
                    turn.unreadable =
                        Some((id.unwrap_or(Bson::Null), format!("cannot be read: {error}")));
                    self.turn_is_blocked = true;
                }
            }
            self.turn_is_full = self.turn_is_blocked || turn.events.len() >= LONGEST_TURN;
            if finished.is_some() {
                return Ok(finished);
            }
        }
    }
}

/// A parked event holds back its key: its turn ends there.
fn is_parked(document: &RawDocumentBuf) -> bool {
    matches!(document.get("parked"), Ok(Some(_)))
}

async fn unsent_behind(
    events: &Collection<RawDocumentBuf>,
    key: Option<&str>,
) -> MongoResult<Cursor<RawDocumentBuf>> {
    let mut filter = doc! { "sent": "NO" };
    let mut batch_size = BATCH_SIZE;
    if let Some(key) = key {
        batch_size = BATCH_SIZE_BEHIND;
        filter.insert("key", doc! { "$gt": key });
    }
    events
        .find(filter)
        .sort(doc! { "key": 1, "version": 1, "_id": 1 })
        .hint(Hint::Name(UNSENT_INDEX.to_owned()))
        .batch_size(batch_size)
        .await
}
