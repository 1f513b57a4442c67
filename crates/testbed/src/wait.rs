//! Something observable is awaited with a deadline.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use tokio::time::{sleep, timeout};

/// Shorter than the publisher's safety interval: what only that finds has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Looks again and again until it is so.
///
/// # Panics
/// When it is not so within [`DEADLINE`].
pub async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let look = async {
        while !is_so().await {
            sleep(LOOK_AGAIN_AFTER).await;
        }
    };
    let looked = timeout(DEADLINE, look).await;
    looked.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}

/// Looks again and again until `look` finds something.
///
/// # Errors
/// Why it did not, when it looked last.
pub async fn within<T, F>(limit: Duration, what: &str, look: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let found = look().await;
        if found.is_ok() || Instant::now() >= deadline {
            return found.with_context(|| format!("not within {limit:?}: {what}"));
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Since 1970, as tokens count.
pub fn now_seconds() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}
