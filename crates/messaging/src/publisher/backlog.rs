//! Reads what is unsent, key by key: a turn is the next events of one key, in the order of their versions.

use std::sync::Arc;

use bson::RawDocumentBuf;
use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    Event, Outbox,
    outbox::{LeftOut, Skips, Unpublishable, WalkFrom},
    stored::Stored,
};

/// Events of one key in a turn at most: a hot key's run does not keep the others waiting.
const LONGEST_TURN: usize = 64;
/// In bytes; an event that is larger is a turn by itself.
const LARGEST_TURN: usize = 1024 * 1024;
const BATCH_SIZE: u32 = 1_000;
/// Behind a key with a long run comes likely another: most of a whole batch would be read in vain.
const BATCH_SIZE_BEHIND: u32 = 128;

/// Unsent events of one key, to be published one after the other.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) key: Stored,
    pub(super) events: Vec<Event>,
    /// Whether the key has others behind them.
    pub(super) has_more: bool,
    /// What stands behind the events and can't be read.
    pub(super) unreadable: Option<Unpublishable>,
    bytes: usize,
    /// Its share of the memory for turns, until it is done.
    room: Option<OwnedSemaphorePermit>,
}

/// The memory for turns that are read and not done: kibibytes.
pub(super) fn room() -> Arc<Semaphore> {
    const KIBIBYTES: usize = 64 * 1024;
    Arc::new(Semaphore::new(KIBIBYTES))
}

/// Sends the turns of one walk over the backlog, one for each key but for what is `left_out`, until nobody takes them.
pub(super) async fn walk(
    outbox: Outbox,
    left_out: LeftOut,
    skips: Skips,
    (turns, room): (mpsc::Sender<Turn>, Arc<Semaphore>),
) -> mongodb::error::Result<()> {
    let mut went_on_behind = false;
    let mut cursor = outbox
        .backlog(WalkFrom::Start, &left_out, BATCH_SIZE)
        .await?;
    let mut turn: Option<Turn> = None;
    loop {
        let Some(document) = cursor.try_next().await? else {
            if !std::mem::take(&mut went_on_behind) {
                break;
            }
            // Whoever goes on behind a text finds texts only.
            cursor = outbox
                .backlog(WalkFrom::BehindTexts, &left_out, BATCH_SIZE)
                .await?;
            continue;
        };
        let key = Stored::of(&document, "key");
        match &mut turn {
            Some(turn) if turn.key == key && turn.is_full() => {
                turn.has_more = true;
                if key.is_text() {
                    went_on_behind = true;
                    let behind = WalkFrom::Behind(&key);
                    cursor = outbox.backlog(behind, &left_out, BATCH_SIZE_BEHIND).await?;
                }
            }
            Some(turn) if turn.key == key => turn.add(&document, &skips),
            _ => {
                let mut next = Turn::of(key);
                next.add(&document, &skips);
                if let Some(finished) = turn.replace(next)
                    && finished.send(&turns, &room).await.is_none()
                {
                    return Ok(());
                }
            }
        }
    }
    if let Some(last) = turn {
        last.send(&turns, &room).await;
    }
    Ok(())
}

impl Turn {
    fn of(key: Stored) -> Self {
        Self {
            key,
            events: Vec::new(),
            has_more: false,
            unreadable: None,
            bytes: 0,
            room: None,
        }
    }

    /// `None` when nobody takes it.
    async fn send(mut self, turns: &mpsc::Sender<Self>, room: &Arc<Semaphore>) -> Option<()> {
        let kibibytes = u32::try_from(self.bytes / 1024).ok()?;
        let room = Arc::clone(room).acquire_many_owned(kibibytes).await;
        self.room = room.ok();
        turns.send(self).await.ok()
    }

    fn is_full(&self) -> bool {
        let is_long = self.events.len() >= LONGEST_TURN || self.bytes >= LARGEST_TURN;
        self.unreadable.is_some() || is_long
    }

    fn add(&mut self, document: &RawDocumentBuf, skips: &Skips) {
        self.bytes += document.as_bytes().len();
        if !skips.is_empty()
            && let Some(skipped) = skips.get(&Stored::of(document, "_id"))
        {
            let replay = document.get_bool("replay").unwrap_or_default();
            let skipped = skipped.clone();
            return self.events.push(Event { replay, ..skipped });
        }
        let reason = match bson::deserialize_from_slice::<Event>(document.as_bytes()) {
            Ok(event) if event.key.is_empty() => "its key is empty".to_owned(),
            Ok(event) => return self.events.push(event),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.unreadable = Some(Unpublishable {
            id: Stored::of(document, "_id"),
            reason,
            is_conflict: false,
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use bson::{DateTime, Document, doc, oid::ObjectId, rawdoc};

    use super::*;

    fn event(version: i64) -> Document {
        doc! {
            "_id": ObjectId::new(), "type": "order.updated", "subject": "order.updated.a", "key": "a",
            "version": version, "data": {}, "sent": "NO", "createdAt": DateTime::now(),
        }
    }

    fn add(turn: &mut Turn, event: &Document) {
        turn.add(&RawDocumentBuf::try_from(event).unwrap(), &Skips::default());
    }

    fn turn() -> Turn {
        Turn::of(Stored::of(&rawdoc! { "key": "a" }, "key"))
    }

    /// Of the key `a`.
    pub(in crate::publisher) fn turn_of(versions: i64) -> Turn {
        let mut turn = turn();
        (0..versions).for_each(|version| add(&mut turn, &event(version)));
        turn
    }

    #[test]
    fn a_turn_is_full_after_so_many_events() {
        let mut turn = turn();
        for version in 0..64 {
            assert!(!turn.is_full(), "{version}");
            add(&mut turn, &event(version));
        }
        assert!(turn.is_full());
        assert_eq!(turn.events.len(), 64);
        assert_eq!(turn.events[63].version, 63);
    }

    #[test]
    fn a_turn_is_full_after_so_many_bytes() {
        let mut turn = turn();
        let mut large = event(0);
        large.insert("data", doc! { "t": "x".repeat(600 * 1024) });
        add(&mut turn, &large);
        assert!(!turn.is_full());
        add(&mut turn, &large);
        assert!(turn.is_full());
    }

    #[test]
    fn an_event_that_cannot_be_read_ends_its_keys_turn_and_is_told() {
        let mut turn = turn();
        add(&mut turn, &event(0));
        let mut unreadable = event(1);
        unreadable.insert("data", "text");
        add(&mut turn, &unreadable);
        assert!(turn.is_full());
        assert_eq!(turn.events.len(), 1);
        let told = turn.unreadable.unwrap();
        let id = unreadable.get_object_id("_id").unwrap();
        assert_eq!(told.id, Stored::from(id));
        assert!(told.reason.starts_with("cannot be read: "), "{told:?}");
    }

    #[test]
    fn an_empty_key_is_none() {
        let mut turn = turn();
        let mut keyless = event(0);
        keyless.insert("key", "");
        add(&mut turn, &keyless);
        assert!(turn.events.is_empty());
        assert_eq!(turn.unreadable.unwrap().reason, "its key is empty");
    }

    #[test]
    fn what_an_operator_gave_up_is_replaced() {
        let (mut turn, given_up) = (turn(), event(0));
        let id = given_up.get_object_id("_id").unwrap();
        let told = Event::skipped(id, "order.skipped", "a".to_owned(), 0);
        let skips = Skips::from(HashMap::from([(Stored::from(id), told)]));
        for document in [&given_up, &event(1)] {
            turn.add(&RawDocumentBuf::try_from(document).unwrap(), &skips);
        }
        let types = turn.events.iter().map(|event| &*event.r#type);
        assert_eq!(
            types.collect::<Vec<_>>(),
            ["order.skipped", "order.updated"]
        );
    }

    #[tokio::test]
    async fn a_turn_takes_room_by_its_size_until_it_is_done() {
        let (sender, mut turns) = mpsc::channel(1);
        let room = room();
        assert_eq!(room.available_permits(), 64 * 1024);
        let mut turn = turn_of(1);
        turn.bytes = 600 * 1024;
        assert!(turn.send(&sender, &room).await.is_some());
        let sent = turns.recv().await;
        assert_eq!(room.available_permits(), 64 * 1024 - 600);
        drop(sent);
        assert_eq!(room.available_permits(), 64 * 1024);
        drop(turns);
        assert!(turn_of(1).send(&sender, &room).await.is_none());
    }
}
