//! The last message of a subject, as this instance published it: saves the question to the stream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// More are forgotten, and asked for again.
const MOST: usize = 10_000;

/// Subject → version and sequence.
#[derive(Clone, Default)]
pub(super) struct LastSequences(Arc<Mutex<HashMap<String, (i64, u64)>>>);

impl LastSequences {
    pub(super) fn of(&self, subject: &str) -> Option<(i64, u64)> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(subject).copied()
    }

    pub(super) fn remember(&self, subject: String, version: i64, sequence: u64) {
        // A first event is alone on its subject: no other names its sequence.
        if version == 0 {
            return;
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST {
            last.clear();
        }
        last.insert(subject, (version, sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_of_a_subject_that_changes_is_remembered() {
        let last = LastSequences::default();
        assert_eq!(last.of("updated.a"), None);
        last.remember("updated.a".to_owned(), 1, 7);
        last.remember("updated.b".to_owned(), 1, 8);
        last.remember("updated.a".to_owned(), 2, 9);
        last.remember("created.c".to_owned(), 0, 10);
        assert_eq!(last.of("updated.a"), Some((2, 9)));
        assert_eq!(last.of("updated.b"), Some((1, 8)));
        assert_eq!(last.of("created.c"), None, "nothing follows it");
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let last = LastSequences::default();
        for key in 0..MOST {
            last.remember(key.to_string(), 1, 1);
        }
        assert_eq!(last.of("0"), Some((1, 1)));
        last.remember("one more".to_owned(), 1, 1);
        assert_eq!(last.of("0"), None);
        assert_eq!(last.of("one more"), Some((1, 1)));
    }
}
