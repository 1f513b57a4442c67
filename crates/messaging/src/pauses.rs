//! The pauses after failures: each is double the one before, with jitter, up to the longest.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    next: ExponentialBackoff,
}

impl Pauses {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        let next = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter()
            .build();
        Self {
            first,
            longest,
            next,
        }
    }

    pub(crate) fn start_again(&mut self) {
        *self = Self::new(self.first, self.longest);
    }

    /// The jitter adds up to the whole pause again; the longest pause is the longest all the same.
    pub(crate) fn next(&mut self) -> Duration {
        self.next.next().unwrap_or(self.longest).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_from_the_first_to_the_longest_and_never_end() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(4));
        let mut pauses = Pauses::new(first, longest);
        for doubled in 0..6 {
            let least = first * 2_u32.pow(doubled);
            let pause = pauses.next();
            assert!((least..=least * 2).contains(&pause), "{doubled}: {pause:?}");
        }
        for _ in 0..1_000 {
            assert!(pauses.next() <= longest);
        }
        pauses.start_again();
        assert!(pauses.next() <= first * 2);
    }
}
