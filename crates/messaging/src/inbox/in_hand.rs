//! The messages that this instance has and has not acknowledged: how many, how large, and the sign that it works on them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::{Subject, jetstream::AckKind};
use tokio::sync::Notify;

use crate::JetStream;

/// Messages in hand at most.
const MOST: usize = 512;
/// In bytes, of them together; and one message more. Where all turns hang, each with a message of 1 MiB (what NATS takes, unless it is
/// configured otherwise) and what else a turn takes, there is room for others.
const MOST_BYTES: usize = 48 * 1024 * 1024;
/// A pull wants so much of it.
const ROOM_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct InHand {
    jetstream: JetStream,
    messages: Mutex<Messages>,
    /// There may be room again.
    pub(super) is_less: Notify,
}

#[derive(Default)]
struct Messages {
    replies: HashMap<u64, Subject>,
    bytes: usize,
    last: u64,
}

/// A message in hand. Whoever drops it leaves it to whom the stream sends it next.
pub(super) struct Held {
    in_hand: Arc<InHand>,
    number: u64,
    bytes: usize,
    reply: Subject,
}

impl InHand {
    pub(super) fn new(jetstream: &JetStream) -> Arc<Self> {
        Arc::new(Self {
            jetstream: jetstream.clone(),
            messages: Mutex::default(),
            is_less: Notify::new(),
        })
    }

    pub(super) fn take(self: &Arc<Self>, reply: Subject, bytes: usize) -> Held {
        let mut messages = self.messages();
        messages.last += 1;
        messages.bytes += bytes;
        let number = messages.last;
        messages.replies.insert(number, reply.clone());
        Held {
            in_hand: Arc::clone(self),
            number,
            bytes,
            reply,
        }
    }

    /// How many more messages there is room for, and how many bytes.
    pub(super) fn room(&self) -> (usize, usize) {
        let messages = self.messages();
        let room = MOST.saturating_sub(messages.replies.len());
        (room, MOST_BYTES.saturating_sub(messages.bytes))
    }

    /// Whether there is enough of it for a pull.
    pub(super) fn has_room(&self) -> bool {
        let (messages, bytes) = self.room();
        messages >= MOST / 2 && bytes >= ROOM_BYTES
    }

    /// Says of all of them that they are worked on.
    pub(super) fn sign_progress(&self) {
        for reply in self.messages().replies.values() {
            self.jetstream.tell(reply, AckKind::Progress);
        }
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(super) fn acknowledge(self) {
        self.in_hand.jetstream.tell(&self.reply, AckKind::Ack);
    }

    /// The stream sends it again at once, perhaps to another instance.
    pub(super) fn give_back(self) {
        self.in_hand.jetstream.tell(&self.reply, AckKind::Nak(None));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut messages = self.in_hand.messages();
        messages.replies.remove(&self.number);
        messages.bytes -= self.bytes;
        self.in_hand.is_less.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timing, jetstream::nowhere};

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn in_hand_are_512_messages_and_48_mib_at_most_and_one_message_more() {
        let jetstream = JetStream::connect(&nowhere(""), "shop", &[], Timing::default()).await;
        let in_hand = InHand::new(&jetstream.unwrap());
        let take = |bytes| in_hand.take(Subject::from_static("reply"), bytes);
        assert_eq!(in_hand.room(), (512, 48 * MIB));
        let mut held: Vec<Held> = (0..40).map(|_| take(MIB)).collect();
        assert_eq!(in_hand.room(), (472, 8 * MIB));
        assert!(in_hand.has_room());
        held.push(take(1));
        assert!(!in_hand.has_room());
        // One message more than there is room for.
        held.push(take(8 * MIB));
        assert_eq!(in_hand.room(), (470, 0));
        held.clear();
        held.extend((0..256).map(|_| take(0)));
        assert!(in_hand.has_room());
        held.push(take(0));
        assert!(!in_hand.has_room());
        drop(held);
        assert_eq!(in_hand.room(), (512, 48 * MIB));
    }
}
