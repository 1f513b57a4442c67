//! Reads what is unsent, key by key: a turn is the next events of one key, in the order of their versions.

use bson::{Bson, RawDocumentBuf};
use futures_util::TryStreamExt;
use tokio::sync::mpsc;

use crate::{Event, Outbox};

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
    /// Whether what stands behind the events can't be published, so that the key's rest must wait.
    is_blocked: bool,
}

/// Sends the turns of one walk over the backlog, one for each key, until nobody takes them. Says whether it
/// left something for another walk.
///
/// # Errors
/// The driver's.
pub(super) async fn walk(
    outbox: Outbox,
    turns: mpsc::Sender<Turn>,
) -> mongodb::error::Result<bool> {
    let mut left_some = false;
    let mut cursor = outbox.backlog(None, BATCH_SIZE).await?;
    let mut turn = Turn::default();
    while let Some(document) = cursor.try_next().await? {
        let key = document.get_str("key").unwrap_or_default();
        if key != turn.key {
            let next = Turn {
                key: key.to_owned(),
                ..Turn::default()
            };
            let finished = std::mem::replace(&mut turn, next);
            if turns.send(finished).await.is_err() {
                return Ok(true);
            }
        } else if turn.is_full() {
            left_some |= !turn.is_blocked;
            cursor = outbox.backlog(Some(key), BATCH_SIZE_BEHIND).await?;
            continue;
        }
        turn.add(&document);
    }
    Ok(turns.send(turn).await.is_err() || left_some)
}

impl Turn {
    fn is_full(&self) -> bool {
        self.is_blocked || self.events.len() >= LONGEST_TURN
    }

    fn add(&mut self, document: &RawDocumentBuf) {
        if is_parked(document) {
            self.is_blocked = true;
            return;
        }
        match bson::deserialize_from_slice(document.as_bytes()) {
            Ok(event) => self.events.push(event),
            Err(error) => {
                let id = document.get("_id").ok().flatten();
                let id = id.and_then(|id| Bson::try_from(id).ok());
                self.unreadable =
                    Some((id.unwrap_or(Bson::Null), format!("cannot be read: {error}")));
                self.is_blocked = true;
            }
        }
    }
}

/// A parked event holds back its key: its turn ends there.
fn is_parked(document: &RawDocumentBuf) -> bool {
    matches!(document.get("parked"), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, Document, doc, oid::ObjectId};

    use super::*;

    fn event(version: i64) -> Document {
        doc! {
            "_id": ObjectId::new(), "type": "order.updated", "subject": "order.updated.a", "key": "a",
            "version": version, "data": {}, "sent": "NO", "createdAt": DateTime::now(),
        }
    }

    fn add(turn: &mut Turn, event: &Document) {
        turn.add(&RawDocumentBuf::try_from(event).unwrap());
    }

    #[test]
    fn a_turn_is_full_after_so_many_events() {
        let mut turn = Turn::default();
        for version in 0..64 {
            assert!(!turn.is_full(), "{version}");
            add(&mut turn, &event(version));
        }
        assert!(turn.is_full());
        assert_eq!(turn.events.len(), 64);
        assert_eq!(turn.events[63].version, 63);
    }

    #[test]
    fn a_parked_event_ends_its_keys_turn() {
        let mut turn = Turn::default();
        add(&mut turn, &event(0));
        let mut parked = event(1);
        parked.insert("parked", doc! { "reason": "too large" });
        add(&mut turn, &parked);
        assert!(turn.is_full());
        assert_eq!(turn.events.len(), 1);
        assert!(turn.unreadable.is_none(), "it is parked already");
    }

    #[test]
    fn an_event_that_cannot_be_read_ends_its_keys_turn_and_is_told() {
        let mut turn = Turn::default();
        add(&mut turn, &event(0));
        let mut unreadable = event(1);
        unreadable.insert("data", "text");
        add(&mut turn, &unreadable);
        assert!(turn.is_full());
        assert_eq!(turn.events.len(), 1);
        let (id, reason) = turn.unreadable.unwrap();
        assert_eq!(id, Bson::ObjectId(unreadable.get_object_id("_id").unwrap()));
        assert!(reason.starts_with("cannot be read: "), "{reason}");
    }
}
