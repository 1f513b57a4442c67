//! What was read of the histories of keys: the next event of a key reads on from there, instead of all of it again.

use std::{collections::HashMap, sync::Arc};

use async_nats::jetstream::stream::Stream;
use bson::oid::ObjectId;
use parking_lot::Mutex;

use super::{Failure, Message, at, told};

/// More messages are forgotten, and read again.
const MOST_MESSAGES: usize = 100_000;

#[derive(Clone, Default)]
pub(in crate::jetstream) struct Histories(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    by_key: HashMap<String, History>,
    messages: usize,
}

/// Where messages of a key lie, up to the last one that was read.
#[derive(Default)]
pub(super) struct History {
    ids: HashMap<ObjectId, u64>,
    versions: HashMap<i64, u64>,
    last: Option<(u64, String)>,
}

impl Histories {
    /// The key's, or an empty one; whoever takes it puts it back.
    pub(super) fn take(&self, key: &str) -> History {
        let mut kept = self.0.lock();
        let history = kept.by_key.remove(key).unwrap_or_default();
        kept.messages -= history.ids.len();
        history
    }

    pub(super) fn put(&self, key: String, history: History) {
        let messages = history.ids.len();
        if messages > MOST_MESSAGES {
            return;
        }
        let mut kept = self.0.lock();
        if kept.messages + messages > MOST_MESSAGES {
            *kept = Kept::default();
        }
        kept.messages += messages;
        kept.by_key.insert(key, history);
    }
}

impl History {
    /// Reads what was not read yet, one question for each message; all of it where the stream is not the one that was read.
    pub(super) async fn read_on(
        &mut self,
        stream: &Stream<()>,
        of_key: &str,
    ) -> Result<(), Failure> {
        if let Some((sequence, id)) = &self.last {
            let last = at(stream, *sequence).await?;
            if last.is_none_or(|it| it.id != *id) {
                *self = Self::default();
            }
        }
        loop {
            let message = stream.get_first_raw_message_by_subject(of_key, self.next());
            match told(message.await)?.map(Message::of) {
                Some(message) => self.add(message),
                None => return Ok(()),
            }
        }
    }

    fn next(&self) -> u64 {
        self.last.as_ref().map_or(1, |(sequence, _)| sequence + 1)
    }

    fn add(&mut self, message: Message) {
        // Written as we write it: anything else is no id of ours.
        if let Ok(id) = message.id.parse::<ObjectId>()
            && id.to_hex() == message.id
        {
            self.ids.insert(id, message.sequence);
        }
        if let Some(version) = message.version {
            self.versions.insert(version, message.sequence);
        }
        self.last = Some((message.sequence, message.id));
    }

    /// Where the event was, or else a message of its version.
    pub(super) fn place(&self, id: &ObjectId, version: i64) -> Option<u64> {
        let of_version = || self.versions.get(&version);
        self.ids.get(id).or_else(of_version).copied()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(sequence: u64) -> Message {
        Message {
            subject: String::new(),
            sequence,
            id: ObjectId::new().to_hex(),
            version: None,
            reached: None,
            payload: Bytes::new(),
        }
    }

    #[test]
    fn of_very_long_histories_no_more_than_a_hundred_thousand_messages_are_remembered() {
        let histories = Histories::default();
        for (key, messages) in [("a", 60_000), ("b", 40_000), ("c", 1), ("d", 100_001)] {
            let mut history = histories.take(key);
            (1..=messages).for_each(|sequence| history.add(message(sequence)));
            histories.put(key.to_owned(), history);
        }
        let next = ["a", "b", "c", "d"].map(|key| histories.take(key).next());
        assert_eq!(next, [1, 1, 2, 1]);
        assert_eq!(histories.0.lock().messages, 0);
    }
}
