//! How long clients may take, and we: a value that the caller gives.

use std::time::Duration;

/// The defaults are listed in `docs/guarantees.md`; a test compares that list with these.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For a connection to be idle. Proxies keep idle ones for 60 s, and must not find one closed as they send on it.
    pub idle: Duration,
    /// For a connection of HTTP/1 on which nothing is asked, before its buffers are given back: longer than who asks again and again waits in
    /// between, and so short that few connections have buffers at once.
    pub rest: Duration,
    /// For the head of a request, once it has begun.
    pub head: Duration,
    /// For a client to read more of an answer, before its connection is closed.
    pub write: Duration,
    /// For requests that are under way on connections that seem to be idle, when no more are taken.
    pub linger: Duration,
    /// For a body, before it is answered 408.
    pub body: Duration,
    /// For what is to be done, before it is answered 503.
    pub work: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(65),
            rest: Duration::from_millis(100),
            head: Duration::from_secs(10),
            write: Duration::from_secs(30),
            linger: Duration::from_millis(500),
            body: Duration::from_secs(10),
            work: Duration::from_secs(10),
        }
    }
}
