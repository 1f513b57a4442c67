//! What an operator decides: another try, or to give something up, as the commands `outbox` and `inbox` do. Each is logged, with who decided.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{Json, extract::State, http::StatusCode};
use bson::oid::ObjectId;
use db::printable;
use messaging::{GivenUp, Retry, ShownLetter};
use tokio::time::timeout;

use super::{Asides, LIMIT, Named, NotDone, Which, invalid, not_there};
use crate::admin::access::Operator;

/// In characters.
const LONGEST_REASON: usize = 500;
/// For how long a connection that is being made anew is waited for.
const RECONNECTS: Duration = Duration::from_secs(2);
/// What is decided is done, or has run out of its own times, long before.
const DECIDED_WITHIN: Duration = Duration::from_secs(20);
const TOO_LONG: &str = "the servers took too long";
const NO_STREAM: &str =
    "this instance has no connection to the stream, which has to take what tells consumers";

const CHANGED: &str =
    "this has changed, or an earlier version of its key holds it back: look at the list again";

#[derive(Clone, Copy)]
enum Decision {
    Retry,
    Skip,
}

impl Decision {
    const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
        }
    }
}

fn unavailable(text: impl Into<String>) -> NotDone {
    NotDone(StatusCode::SERVICE_UNAVAILABLE, text.into())
}

/// It was not done, because of how things are now.
fn conflict(text: impl Into<String>) -> NotDone {
    NotDone(StatusCode::CONFLICT, text.into())
}

impl Asides {
    async fn retry(&self, which: &Which) -> Result<String, NotDone> {
        let is_tried = match self.named(which)? {
            Named::Event(id) => {
                let outbox = self.outbox.clone();
                let retry = async move { outbox.retry(Retry::One(id)).await };
                self.ask(&self.places, retry).await? > 0
            }
            Named::Letter(consumer, key, shown) => {
                let (inbox, key) = (self.inbox.clone(), key.to_owned());
                let version = Some(shown.version);
                let retry = async move { inbox.retry(consumer, &key, version).await };
                self.ask(&self.places, retry).await?.is_some()
            }
            Named::Sequence(..) => {
                return Err(invalid("what has no key or no version can only be skipped"));
            }
        };
        let told = "It is tried again.".to_owned();
        is_tried.then_some(told).ok_or_else(not_there)
    }

    async fn skip(&self, which: &Which) -> Result<String, NotDone> {
        let reason = which.reason.trim();
        if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
            return Err(invalid(
                "a reason of 1 to 500 characters is wanted; it is kept",
            ));
        }
        match self.named(which)? {
            Named::Event(id) => self.skip_event(id, reason).await,
            Named::Letter(consumer, key, shown) => {
                self.skip_letter((consumer, key, shown), reason).await
            }
            Named::Sequence(consumer, sequence) => {
                let (inbox, reason) = (self.inbox.clone(), reason.to_owned());
                let skip = async move { inbox.skip_unplaced(consumer, sequence, &reason).await };
                let is_skipped = self.ask(&self.places, skip).await?;
                let told = "The message is given up.".to_owned();
                is_skipped.then_some(told).ok_or_else(not_there)
            }
        }
    }

    async fn skip_letter(
        &self,
        (consumer, key, shown): (&str, &str, ShownLetter),
        reason: &str,
    ) -> Result<String, NotDone> {
        let skip = self.inbox.skip_shown(consumer, key, shown, reason);
        let skipped = timeout(LIMIT, skip).await;
        let skipped = skipped.map_err(|_| unavailable(TOO_LONG))?;
        let skipped = skipped.map_err(|error| unavailable(error.to_string()))?;
        let (from, to) = skipped
            .map(|it| (it.from, it.to))
            .ok_or_else(|| conflict(CHANGED))?;
        Ok(if from == to {
            format!("Version {to} is given up.")
        } else {
            format!("Versions {from} to {to} are given up.")
        })
    }

    async fn skip_event(&self, id: ObjectId, reason: &str) -> Result<String, NotDone> {
        let jetstream = self.jetstream.clone();
        let jetstream = jetstream.ok_or_else(|| conflict(NO_STREAM))?;
        if !jetstream.is_connected_within(RECONNECTS).await {
            return Err(conflict(NO_STREAM));
        }
        let (outbox, events, reason) = (self.outbox.clone(), self.events, reason.to_owned());
        let give_up = async move {
            let connect = async || Ok(jetstream);
            Ok(outbox.give_up(events, (id, &reason), connect).await)
        };
        let given_up = self.ask(&self.places, give_up).await?;
        let not_done = |error: anyhow::Error| match error.downcast::<mongodb::error::Error>() {
            Ok(error) => error.into(),
            Err(refused) => conflict(format!("{refused:#}")),
        };
        match given_up.map_err(not_done)? {
            GivenUp::NotParked => Err(not_there()),
            GivenUp::InSilence => Ok("The event is given up; consumers are not told.".to_owned()),
            GivenUp::ToldAs(told_as) => Ok(format!(
                "The event is given up; consumers are told by {told_as}."
            )),
        }
    }

    /// Decides and logs in a task of its own, which ends whether or not whoever asked has hung up.
    async fn decide(
        self: Arc<Self>,
        operator: Operator,
        decision: Decision,
        which: Which,
    ) -> Result<String, NotDone> {
        let db = self.db.clone();
        let deed = async move {
            let done = match decision {
                Decision::Retry => self.retry(&which).await,
                Decision::Skip => self.skip(&which).await,
            };
            log(&operator, decision, &which, &done);
            self.decisions.fetch_add(1, Ordering::Relaxed);
            Ok(done)
        };
        db.bounded(DECIDED_WITHIN, deed).await?
    }
}

fn log(operator: &Operator, decision: Decision, which: &Which, done: &Result<String, NotDone>) {
    let shown = |text: &Option<String>| text.as_deref().map(printable);
    let (Ok(outcome) | Err(NotDone(_, outcome))) = done;
    tracing::info!(
        operator.address,
        operator.by,
        decision = decision.name(),
        event.id = shown(&which.event),
        consumer = shown(&which.consumer),
        message.key = shown(&which.key),
        message.version = which.version,
        message.sequence = which.sequence,
        reason = printable(&which.reason),
        outcome = printable(outcome),
        "an operator decided on the live page"
    );
}

pub(crate) async fn retry(
    State(asides): State<Arc<Asides>>,
    operator: Operator,
    Json(which): Json<Which>,
) -> Result<String, NotDone> {
    asides.decide(operator, Decision::Retry, which).await
}

pub(crate) async fn skip(
    State(asides): State<Arc<Asides>>,
    operator: Operator,
    Json(which): Json<Which>,
) -> Result<String, NotDone> {
    asides.decide(operator, Decision::Skip, which).await
}
