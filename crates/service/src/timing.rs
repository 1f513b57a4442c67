//! How long the process waits for what, with the times of its parts: a value that the caller gives.

use std::time::Duration;

/// The defaults are listed in `docs/guarantees.md`; a test compares that list with these.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long the requests that are under way may take when no more are taken.
    pub http_drain: Duration,
    /// From the end of `STOP_DELAY` to the end of the process: then the publisher finishes what is in flight.
    pub drain: Duration,
    /// The pause before collections and indexes are made again; it doubles with each further one.
    pub prepare_again: Duration,
    /// The longest such pause.
    pub longest_prepare_again: Duration,
    /// The pause before it is looked whether they are still there.
    pub prepare_interval: Duration,
    /// How long making them may take: an index on a large collection takes its time.
    pub prepare_limit: Duration,
    /// For how long from the start a request waits for the database to be prepared, before it is refused: a proxy that looks at
    /// nothing but the port sends some as soon as that is open.
    pub first_requests_wait: Duration,
    pub http: web::Timing,
    pub db: db::Timing,
    pub outbox: messaging::Timing,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            http_drain: Duration::from_secs(10),
            drain: Duration::from_secs(13),
            prepare_again: Duration::from_millis(250),
            longest_prepare_again: Duration::from_secs(5),
            prepare_interval: Duration::from_secs(10),
            prepare_limit: Duration::from_secs(600),
            first_requests_wait: Duration::from_secs(5),
            http: web::Timing::default(),
            db: db::Timing::default(),
            outbox: messaging::Timing::default(),
        }
    }
}
