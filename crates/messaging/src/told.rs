//! A failure that comes again and again is a warning once, until it is another one or is over.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::stored::Stored;

#[derive(Debug, Default)]
pub(crate) struct Told {
    failure: &'static str,
    error: String,
}

impl Told {
    pub(crate) fn tell(&mut self, failure: &'static str, error: String) {
        if (self.failure, &self.error) == (failure, &error) {
            tracing::debug!(error, "{failure}, again");
        } else {
            tracing::warn!(error, "{failure}");
            *self = Self { failure, error };
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        !self.failure.is_empty()
    }

    pub(crate) fn is_over(&mut self) {
        *self = Self::default();
    }
}

/// Warnings of different keys come at most this often.
const PAUSE: Duration = Duration::from_secs(1);
/// More causes are not remembered, and not told.
const MOST: usize = 1_000;

/// The same where each key may have a failure of its own, or all of them the same one.
#[derive(Debug, Default)]
pub(crate) struct ToldOfKeys {
    /// By failure and error: the key that they were told of.
    told: HashMap<(&'static str, String), Stored>,
    at: Option<Instant>,
}

impl ToldOfKeys {
    pub(crate) fn tell(
        &mut self,
        failure: &'static str,
        key: &Stored,
        error: String,
        now: Instant,
    ) {
        let shown = key.text();
        if self.is_news(failure, key, &error, now) {
            tracing::warn!(key = shown, error, "{failure}");
        } else {
            tracing::debug!(key = shown, error, "{failure}, again");
        }
    }

    fn is_news(&mut self, failure: &'static str, key: &Stored, error: &str, now: Instant) -> bool {
        let is_soon = self.at.is_some_and(|at| now.duration_since(at) < PAUSE);
        let cause = (failure, error.to_owned());
        if is_soon || self.told.len() >= MOST || self.told.contains_key(&cause) {
            return false;
        }
        self.at = Some(now);
        self.told.insert(cause, key.clone());
        true
    }

    /// The key fails in this way no more.
    pub(crate) fn is_over(&mut self, failure: &str, key: &Stored) {
        self.told
            .retain(|(of, _), told| *of != failure || told != key);
    }

    /// The key fails no more in any way, as nothing is tried.
    pub(crate) fn forget(&mut self, key: &Stored) {
        self.told.retain(|_, told| told != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_news_once_for_all_keys_until_it_is_over() {
        let (a, b, now) = (Stored::from("a"), Stored::from("b"), Instant::now());
        let later = |pauses: u32| now + PAUSE * pauses;
        let mut told = ToldOfKeys::default();
        assert!(told.is_news("waits", &a, "full", now));
        assert!(!told.is_news("waits", &a, "full", later(1)));
        assert!(
            !told.is_news("waits", &b, "full", later(2)),
            "the same cause"
        );
        assert!(told.is_news("waits", &b, "denied", later(3)));
        assert!(!told.is_news("waits", &b, "gone", later(3)), "not at once");
        assert!(told.is_news("waits", &b, "gone", later(4)));
        told.is_over("waits", &b);
        assert!(
            !told.is_news("waits", &b, "full", later(5)),
            "it was told of a"
        );
        assert!(told.is_news("waits", &b, "denied", later(6)));
        told.is_over("is not marked", &a);
        assert!(!told.is_news("waits", &b, "full", later(7)));
        told.is_over("waits", &a);
        assert!(told.is_news("waits", &b, "full", later(8)));
        told.forget(&b);
        assert!(told.is_news("waits", &a, "full", later(9)));
    }

    #[test]
    fn of_very_many_causes_some_are_not_told() {
        let (key, mut now) = (Stored::from("a"), Instant::now());
        let mut told = ToldOfKeys::default();
        for number in 0..1_100 {
            now += PAUSE;
            let is_news = told.is_news("waits", &key, &number.to_string(), now);
            assert_eq!(is_news, number < 1_000);
        }
    }
}
