//! What NATS does not let us do. It says so in a message of its own, beside the answer that never comes: what is denied times out.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::Client;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};

use crate::{pauses::Pauses, told::Told};

/// More are forgotten: each key has a subject of its own.
const MOST: usize = 1_000;

/// The pauses before a connection without an inbox is opened anew.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What was denied on this connection.
#[derive(Clone)]
pub(super) struct Denied {
    inbox_prefix: Arc<str>,
    noted: Arc<Mutex<Noted>>,
    inbox_is_denied: Arc<Notify>,
}

#[derive(Default)]
struct Noted {
    /// When, by subject.
    publishing: HashMap<String, Instant>,
    /// Where answers would come to.
    inbox: Option<String>,
}

impl Denied {
    pub(super) fn of(inbox_prefix: &str) -> Self {
        Self {
            inbox_prefix: format!("{inbox_prefix}.").into(),
            noted: Arc::default(),
            inbox_is_denied: Arc::default(),
        }
    }

    /// Takes note of what the server says, where it is that.
    pub(super) fn note(&self, said: &str) -> bool {
        let Some((_, denied)) = said.split_once("Permissions Violation for ") else {
            return false;
        };
        let Some(subject) = denied.split('"').nth(1) else {
            return false;
        };
        let mut noted = self.noted.lock();
        if denied.starts_with("Publish") {
            let subject = of_all(subject);
            if noted.publishing.len() >= MOST {
                noted.publishing.clear();
            }
            noted.publishing.insert(subject, Instant::now());
        } else if subject.starts_with(&*self.inbox_prefix) {
            noted.inbox = Some(subject.to_owned());
            self.inbox_is_denied.notify_one();
        } else {
            // Of whoever else uses the connection.
            return false;
        }
        true
    }

    /// A new connection may allow more.
    pub(super) fn forget(&self) {
        *self.noted.lock() = Noted::default();
    }

    /// Why something went unanswered that was sent after `began` on a subject that `is_ours`.
    pub(super) fn why(&self, began: Instant, is_ours: impl Fn(&str) -> bool) -> Option<String> {
        let noted = self.noted.lock();
        if let Some(inbox) = &noted.inbox {
            return Some(format!(
                "NATS does not let us subscribe to {inbox}, where its answers come to"
            ));
        }
        let mut denied = noted.publishing.iter();
        let denied = denied.find(|(subject, at)| **at >= began && is_ours(subject));
        denied.map(|(subject, _)| format!("NATS does not let us publish to {subject}"))
    }

    /// All that was denied on this connection. Nobody waits for an answer to some of it.
    pub(super) fn all(&self) -> Option<String> {
        let noted = self.noted.lock();
        let mut denied: Vec<_> = noted.publishing.keys().map(String::as_str).collect();
        denied.sort_unstable();
        let is_denied = !denied.is_empty();
        is_denied.then(|| format!("NATS does not let us publish to {}", denied.join(", ")))
    }

    /// Opens the connection anew, for ever, while answers can't come to us: a server that denies a subscription forgets it, and the
    /// client asks for it again with a new connection only.
    pub(super) async fn look_for_an_inbox(self, client: Client) {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        let (mut told, mut last) = (Told::default(), Instant::now());
        loop {
            self.inbox_is_denied.notified().await;
            if last.elapsed() > LONGEST_PAUSE * 2 {
                pauses.start_again();
                told.is_over();
            }
            let Some(inbox) = self.noted.lock().inbox.clone() else {
                continue;
            };
            told.tell(
                "NATS denies us its answers; it is connected to anew until it does not",
                inbox,
            );
            sleep(pauses.next()).await;
            last = Instant::now();
            // It may have connected by itself meanwhile.
            if self.noted.lock().inbox.is_none() {
                continue;
            }
            if client.force_reconnect().await.is_err() {
                return;
            }
        }
    }
}

/// Acknowledgements of a consumer differ in the last five words of their subject.
fn of_all(subject: &str) -> String {
    let consumers = subject.rsplitn(6, '.').nth(5);
    match consumers.filter(|consumers| consumers.starts_with("$JS.ACK.")) {
        Some(consumers) => format!("{consumers}.>"),
        None => subject.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_told_of_the_subject_that_it_was_denied_for_and_until_the_next_connection()
    {
        let (denied, began) = (Denied::of("_INBOX"), Instant::now());
        assert!(denied.note("Permissions Violation for Publish to \"a.b\""));
        assert!(!denied.note("User Authentication Expired"));
        let told = denied.why(began, |subject| subject == "a.b").unwrap();
        assert!(told.ends_with("publish to a.b"), "{told}");
        assert_eq!(denied.why(began, |subject| subject == "a.c"), None);
        assert_eq!(denied.why(Instant::now(), |_| true), None);
        for sequence in 1..3 {
            let subject = format!("$JS.ACK.ORDERS.a-b.1.{sequence}.1.1795853117.0");
            assert!(denied.note(&format!(
                "Permissions Violation for Publish to \"{subject}\""
            )));
        }
        let all = denied.all().unwrap();
        assert!(
            all.ends_with("publish to $JS.ACK.ORDERS.a-b.>, a.b"),
            "{all}"
        );
        assert!(denied.note("Permissions Violation for Subscription to \"_INBOX.x.*\""));
        let told = denied.why(Instant::now(), |_| false).unwrap();
        assert!(told.contains("subscribe to _INBOX.x.*"), "{told}");
        denied.forget();
        assert_eq!(denied.why(began, |_| true), None);
    }
}
