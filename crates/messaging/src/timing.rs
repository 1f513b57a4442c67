//! How long the outbox waits for what: a value that the caller gives, so that a test does not wait as long as people do.

use std::time::Duration;

use crate::InboxTiming;

/// The defaults are listed in `docs/guarantees.md`; a test compares that list with these.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The server gives the lease to another instance this long after the last renewal.
    pub lease_term: Duration,
    /// The holder renews the lease this often.
    pub lease_renewal: Duration,
    /// The holder stops publishing this much before the server lets another instance have the lease.
    pub lease_margin: Duration,
    /// An instance that stands by asks for the lease this often.
    pub standby_interval: Duration,
    /// The publisher looks for unsent events this often, even where no change stream woke it.
    pub safety_interval: Duration,
    /// The shortest pause between the beginnings of two sweeps: an event alone goes at once, several go together. Each key in hand
    /// lengthens it.
    pub sweep_pause: Duration,
    /// The longest such pause.
    pub longest_sweep_pause: Duration,
    /// A sweep in which nothing moves for this long is given up: the driver has no socket time-out.
    pub sweep_stalled_after: Duration,
    /// On a stop, the publisher takes events from the backlog for this long.
    pub last_sweep: Duration,
    /// The first pause after a failure; it doubles with each further one.
    pub first_retry: Duration,
    /// The longest pause after a failure of a server.
    pub longest_retry: Duration,
    /// The longest pause after a failure of one key.
    pub longest_key_retry: Duration,
    /// The longest pause before one of several keys is tried again, while none succeeds.
    pub longest_probe: Duration,
    /// An instance that stands by looks this often whether it could publish, while it could not.
    pub stream_check: Duration,
    /// An instance that stands by and could publish looks this often whether it still could.
    pub stream_check_again: Duration,
    /// The publisher looks this often whether the stream, which answers, is still fit.
    pub stream_look: Duration,
    /// The name of an instance that waits for the lease counts for this long.
    pub waiter_counts: Duration,
    /// A holder of the lease that has no connection to NATS gives the lease up to one that waits after this.
    pub unconnected_limit: Duration,
    /// A holder to which the stream does not answer, or several of whose keys fail and none succeeds, gives the lease up after this.
    pub failing_limit: Duration,
    /// A holder gives the lease up after a single key has failed for this long.
    pub failing_key_limit: Duration,
    /// An instance that gave the lease up does not ask for it for this long.
    pub precedence: Duration,
    /// A change stream that says nothing for this long is opened anew. The server answers three times in it, with nothing if need be.
    pub watch_silence_limit: Duration,
    /// The pause before a change stream that failed is opened anew.
    pub watch_again: Duration,
    /// Wait this long before marking events as sent, so that one majority write covers several events.
    pub mark_delay: Duration,
    /// A mark that takes longer is given up; its events are published again, and stored once.
    pub mark_limit: Duration,
    /// A publication without an acknowledgement has failed after this.
    pub ack_timeout: Duration,
    /// The client pings NATS this often, and notices a half-open connection after two unanswered pings.
    pub nats_ping: Duration,
    /// The longest pause between two attempts to connect to NATS.
    pub longest_reconnect: Duration,
    pub inbox: InboxTiming,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease_term: Duration::from_secs(3),
            lease_renewal: Duration::from_millis(750),
            lease_margin: Duration::from_millis(250),
            standby_interval: Duration::from_millis(500),
            safety_interval: Duration::from_secs(30),
            sweep_pause: Duration::from_millis(2),
            longest_sweep_pause: Duration::from_millis(20),
            sweep_stalled_after: Duration::from_secs(15),
            last_sweep: Duration::from_secs(1),
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(3),
            longest_key_retry: Duration::from_secs(30),
            longest_probe: Duration::from_secs(1),
            stream_check: Duration::from_secs(1),
            stream_check_again: Duration::from_secs(5),
            stream_look: Duration::from_secs(10),
            waiter_counts: Duration::from_secs(5),
            unconnected_limit: Duration::from_secs(2),
            failing_limit: Duration::from_secs(10),
            failing_key_limit: Duration::from_secs(60),
            precedence: Duration::from_secs(5),
            watch_silence_limit: Duration::from_secs(10),
            watch_again: Duration::from_millis(500),
            mark_delay: Duration::from_millis(10),
            mark_limit: Duration::from_secs(15),
            ack_timeout: Duration::from_secs(5),
            nats_ping: Duration::from_secs(5),
            longest_reconnect: Duration::from_secs(1),
            inbox: InboxTiming::default(),
        }
    }
}
