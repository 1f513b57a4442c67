//! Whether a consumer can be used: what scrapers and people are told of it, and how long to wait before it is tried again.

use metrics::{Gauge, gauge};
use tokio::time::sleep;

use crate::{Timing, metrics::STREAM_MISSING, pauses::Pauses, told::Told};

pub(super) struct Usable {
    /// At the stream.
    name: String,
    is_missing: Gauge,
    told: Told,
    pauses: Pauses,
    /// Since it was opened.
    is_used: bool,
}

impl Usable {
    pub(super) fn new(consumer: &'static str, name: &str, timing: Timing) -> Self {
        let is_missing = gauge!(STREAM_MISSING, "consumer" => consumer);
        is_missing.set(0.0);
        Self {
            name: name.to_owned(),
            is_missing,
            told: Told::default(),
            pauses: Pauses::new(timing.first_retry, timing.longest_retry),
            is_used: false,
        }
    }

    /// Another part of the log says why. What was tried over the connection before says nothing of the next one.
    pub(super) fn without_connection(&mut self) {
        self.is_missing.set(1.0);
        self.pauses.start_again();
    }

    pub(super) fn is_opened(&mut self) {
        self.is_used = false;
    }

    /// The server has answered a pull: with a message, or by saying that there is none. That a consumer can be opened does not tell that it
    /// can be pulled from.
    pub(super) fn is_used(&mut self) {
        self.is_missing.set(0.0);
        if self.is_used {
            return;
        }
        self.is_used = true;
        self.pauses.start_again();
        if self.told.is_told() {
            tracing::info!(consumer = self.name, "messages are consumed");
            self.told.is_over();
        }
    }

    /// It can't be opened or pulled from; returns when that is to be tried again. One that was used until now is opened anew at once.
    pub(super) async fn is_lost(&mut self, why: &anyhow::Error) {
        if std::mem::take(&mut self.is_used) {
            tracing::debug!(%why, "the consumer is opened anew");
            return;
        }
        self.is_missing.set(1.0);
        let failure = "the stream's consumer cannot be used; it is waited for";
        self.told.tell(failure, format!("{}: {why:#}", self.name));
        sleep(self.pauses.next()).await;
    }
}
