//! The experiment's clock: everything is dated in milliseconds since the load began.

use std::time::{Duration, Instant, SystemTime};

/// When the load began; copies are the same clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
    /// For the dates of messages, which are the server's.
    began_at: SystemTime,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            began: Instant::now(),
            began_at: SystemTime::now(),
        }
    }

    pub(crate) fn at(self, since: Duration) -> Instant {
        self.began + since
    }

    pub(crate) fn ms(self, at: Instant) -> u64 {
        whole_ms(at.saturating_duration_since(self.began))
    }

    pub(crate) fn now_ms(self) -> u64 {
        self.ms(Instant::now())
    }

    /// The date of a time.
    pub(crate) fn date_of(self, ms: u64) -> bson::DateTime {
        bson::DateTime::from_system_time(self.began_at + Duration::from_millis(ms))
    }

    /// Of a date; 0 where it lies before the load.
    pub(crate) fn ms_of(self, date: SystemTime) -> u64 {
        whole_ms(date.duration_since(self.began_at).unwrap_or_default())
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
