//! What an operator decides: another try, or to give something up, as the commands `outbox` and `inbox` do. Each is logged, with who decided.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use bson::oid::ObjectId;
use db::printable;
use messaging::{GivenUp, Retry, RetryDead};
use tokio::time::timeout;

use super::{Asides, LIMIT, Named, NotDone, Which, invalid, not_there};
use crate::admin::access::Operator;

/// In characters.
const LONGEST_REASON: usize = 500;
/// For how long a connection that is being made anew is waited for.
const RECONNECTS: Duration = Duration::from_secs(2);
const TOO_LONG: &str = "the servers took too long; it may be done all the same";
const NO_STREAM: &str =
    "this instance has no connection to the stream, which has to take what tells consumers";

fn unavailable(text: impl Into<String>) -> NotDone {
    NotDone(StatusCode::SERVICE_UNAVAILABLE, text.into())
}

impl Asides {
    async fn retry(&self, which: &Which) -> Result<String, NotDone> {
        let count = match self.named(which)? {
            Named::Event(id) => {
                let outbox = self.outbox.clone();
                let retry = async move { outbox.retry(Retry::One(id)).await };
                self.ask(retry).await?
            }
            Named::Key(consumer, key) => {
                let (inbox, key) = (self.inbox.clone(), key.to_owned());
                let retry = async move { inbox.retry(consumer, RetryDead::Key(&key)).await };
                self.ask(retry).await?
            }
            Named::Sequence(..) => {
                return Err(invalid("what has no key or no version can only be skipped"));
            }
        };
        if count == 0 {
            return Err(not_there());
        }
        Ok("It is tried again.".to_owned())
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
            Named::Key(consumer, key) => self.skip_key(consumer, key, reason).await,
            Named::Sequence(consumer, sequence) => {
                let (inbox, reason) = (self.inbox.clone(), reason.to_owned());
                let skip = async move { inbox.skip_unplaced(consumer, sequence, &reason).await };
                let is_skipped = self.ask(skip).await?;
                let told = "The message is given up.".to_owned();
                is_skipped.then_some(told).ok_or_else(not_there)
            }
        }
    }

    async fn skip_key(&self, consumer: &str, key: &str, reason: &str) -> Result<String, NotDone> {
        let skipped = timeout(LIMIT, self.inbox.skip(consumer, key, reason)).await;
        let skipped = skipped.map_err(|_| unavailable(TOO_LONG))?;
        let skipped = skipped.map_err(|error| unavailable(error.to_string()))?;
        let (from, to) = skipped.map(|it| (it.from, it.to)).ok_or_else(not_there)?;
        Ok(if from == to {
            format!("Version {to} is given up.")
        } else {
            format!("Versions {from} to {to} are given up.")
        })
    }

    async fn skip_event(&self, id: ObjectId, reason: &str) -> Result<String, NotDone> {
        let jetstream = self.jetstream.clone();
        let jetstream = jetstream.ok_or_else(|| unavailable(NO_STREAM))?;
        if !jetstream.is_connected_within(RECONNECTS).await {
            return Err(unavailable(NO_STREAM));
        }
        let connect = async || Ok(jetstream);
        let given_up = self.outbox.give_up(self.events, (id, reason), connect);
        let given_up = timeout(LIMIT, given_up).await;
        let given_up = given_up.map_err(|_| unavailable(TOO_LONG))?;
        match given_up.map_err(|error| unavailable(format!("{error:#}")))? {
            GivenUp::NotParked => Err(not_there()),
            GivenUp::InSilence => Ok("The event is given up; consumers are not told.".to_owned()),
            GivenUp::ToldAs(told_as) => Ok(format!(
                "The event is given up; consumers are told by {told_as}."
            )),
        }
    }

    /// The next list is a new one, and the log says who decided what.
    async fn decided(
        &self,
        operator: &Operator,
        decision: &'static str,
        which: &Which,
        done: &Result<String, NotDone>,
    ) {
        *self.listed.lock().await = None;
        let shown = |text: &Option<String>| text.as_deref().map(printable);
        let (Ok(outcome) | Err(NotDone(_, outcome))) = done;
        tracing::info!(
            operator.address,
            operator.by,
            decision,
            event.id = shown(&which.event),
            consumer = shown(&which.consumer),
            message.key = shown(&which.key),
            message.sequence = which.sequence,
            reason = printable(&which.reason),
            outcome = printable(outcome),
            "an operator decided on the live page"
        );
    }
}

pub(crate) async fn retry(
    State(asides): State<Arc<Asides>>,
    operator: Operator,
    Json(which): Json<Which>,
) -> Result<String, NotDone> {
    let done = asides.retry(&which).await;
    asides.decided(&operator, "retry", &which, &done).await;
    done
}

pub(crate) async fn skip(
    State(asides): State<Arc<Asides>>,
    operator: Operator,
    Json(which): Json<Which>,
) -> Result<String, NotDone> {
    let done = asides.skip(&which).await;
    asides.decided(&operator, "skip", &which, &done).await;
    done
}
