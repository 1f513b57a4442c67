//! How long the inbox waits for what.

use std::time::Duration;

/// The defaults are listed in `docs/guarantees.md`; a test compares that list with these.
#[derive(Debug, Clone, Copy)]
pub struct InboxTiming {
    /// The stream sends a message again that nobody acknowledged, or said to be working on, for this long.
    pub ack_wait: Duration,
    /// All that is in hand is said to be worked on this often.
    pub progress: Duration,
    /// A pull waits for messages this long.
    pub pull: Duration,
    /// The stream says this often that it has no message. One that is silent for twice as long has forgotten us.
    pub heartbeat: Duration,
    /// A handler that takes longer is asked again.
    pub handler_limit: Duration,
    /// A write without a handler that takes longer is given up, and tried again.
    pub write_limit: Duration,
    /// The longest pause before a message is tried again that its handler wants again.
    pub longest_again: Duration,
    /// What is to be tried again is looked for this often.
    pub look: Duration,
    /// What waits although nothing is missing is looked for this often.
    pub sweep: Duration,
    /// The stream is asked this often how far the consumer is behind.
    pub lag: Duration,
}

impl Default for InboxTiming {
    fn default() -> Self {
        Self {
            ack_wait: Duration::from_secs(5),
            progress: Duration::from_secs(2),
            pull: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            handler_limit: Duration::from_secs(30),
            write_limit: Duration::from_secs(15),
            longest_again: Duration::from_secs(60),
            look: Duration::from_secs(1),
            sweep: Duration::from_secs(30),
            lag: Duration::from_secs(5),
        }
    }
}
