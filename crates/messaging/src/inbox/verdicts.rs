//! What becomes of a message that its handler did not apply.

use std::time::Duration;

use super::{
    apply::{Attempts, Job},
    consumer::Handled,
    dead_letters::{DEAD, RETRYING, Verdict},
};
use crate::{Timing, pauses::Pauses};

const MOST_PANICS: i64 = 3;

/// By its handler.
pub(super) fn judged(job: &Job, handled: Handled, timing: Timing) -> Verdict {
    match handled {
        Handled::Panicked(reason) => {
            let panics = job.aside.unwrap_or_default().panics + 1;
            let state = if panics < MOST_PANICS { RETRYING } else { DEAD };
            Verdict {
                panics,
                state,
                ..again(job, reason, true, timing)
            }
        }
        Handled::Refused(reason) => refused(job, reason, timing),
        Handled::Again(reason) => again(job, reason, true, timing),
        Handled::Applied => again(job, String::new(), false, timing),
    }
}

/// For ever.
pub(super) fn refused(job: &Job, reason: String, timing: Timing) -> Verdict {
    Verdict {
        state: DEAD,
        delay: Duration::ZERO,
        ..again(job, reason, true, timing)
    }
}

/// It is tried again. What is no fault of the message's is not counted.
pub(super) fn again(job: &Job, reason: String, is_counted: bool, timing: Timing) -> Verdict {
    let Attempts { asked, panics } = job.aside.unwrap_or_default();
    let attempts = asked + i64::from(is_counted);
    let longest = timing.inbox.longest_again;
    Verdict {
        state: RETRYING,
        reason,
        attempts,
        panics,
        delay: pause(timing.first_retry, longest, attempts.max(1)),
    }
}

/// The pause before an attempt after so many.
pub(super) fn pause(first: Duration, longest: Duration, attempts: i64) -> Duration {
    let mut pauses = Pauses::new(first, longest);
    let enough = 20;
    for _ in 1..attempts.min(enough) {
        pauses.next();
    }
    pauses.next()
}
