//! How long the service waits for MongoDB: a value that the caller gives.

use std::time::Duration;

/// The defaults are listed in `docs/guarantees.md`; a test compares that list with these.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long an operation looks for a primary before it gives up: a service answers 503 rather than waits. The connection
    /// string may say another.
    pub server_selection: Duration,
    /// How long opening a connection may take. The connection string may say another.
    pub connect: Duration,
    /// The pause before the name in a `mongodb+srv://` address is looked up again.
    pub look_up_again: Duration,
    /// No attempt of a transaction starts later than this after the first, so that hardly a request that was answered 503
    /// for the time it took (`web::Timing`) is saved afterwards.
    pub attempts_end: Duration,
    /// How long a request waits for what it reads: less than it may take itself.
    pub read_limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            server_selection: Duration::from_secs(3),
            connect: Duration::from_secs(3),
            look_up_again: Duration::from_secs(2),
            attempts_end: Duration::from_secs(8),
            read_limit: Duration::from_secs(8),
        }
    }
}
