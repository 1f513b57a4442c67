//! The pauses after failures: each is double the one before, with jitter, up to the longest.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::Timing;

pub(super) struct Pauses {
    timing: Timing,
    next: ExponentialBackoff,
}

impl Pauses {
    pub(super) fn new(timing: Timing) -> Self {
        let next = ExponentialBuilder::default()
            .with_min_delay(timing.first_retry)
            .with_max_delay(timing.longest_retry)
            .without_max_times()
            .with_jitter()
            .build();
        Self { timing, next }
    }

    pub(super) fn start_again(&mut self) {
        *self = Self::new(self.timing);
    }

    /// The jitter adds up to the whole pause again; the longest pause is the longest all the same.
    pub(super) fn next(&mut self) -> Duration {
        let longest = self.timing.longest_retry;
        self.next.next().unwrap_or(longest).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_from_the_first_to_the_longest_and_never_end() {
        let timing = Timing::default();
        let mut pauses = Pauses::new(timing);
        for doubled in 0..6 {
            let least = timing.first_retry * 2_u32.pow(doubled);
            let pause = pauses.next();
            assert!((least..=least * 2).contains(&pause), "{doubled}: {pause:?}");
        }
        for _ in 0..1_000 {
            assert!(pauses.next() <= timing.longest_retry);
        }
        pauses.start_again();
        assert!(pauses.next() <= timing.first_retry * 2);
    }
}
