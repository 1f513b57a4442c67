//! What a service consumes: a stream, the types that it knows, and the handler that applies them.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use mongodb::ClientSession;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::envelope::Envelope;
use crate::{Metadata, asyncapi::Payload, event::noun_of};

/// A message, as a handler is given it.
#[derive(Debug, Clone)]
pub struct Received<T> {
    /// What the message is about; messages of one key are applied in the order of their versions.
    pub key: String,
    /// Grows by one with each message of the key, from 0.
    pub version: i64,
    /// `Nats-Msg-Id`, or the stream and the sequence where there is none.
    pub message_id: String,
    pub r#type: String,
    /// Of the event that the handler records: a new id, this moment, and the message's trace. A second event needs an id of its own.
    pub metadata: Metadata,
    /// The payload.
    pub data: T,
}

/// What became of a message, by its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is applied, or there was nothing to change.
    Applied,
    /// Not now, and why: it is tried again after growing delays. Nothing that the handler wrote stays.
    Again(&'static str),
    /// Never, and why: it waits for an operator. Nothing that the handler wrote stays.
    Refused(&'static str),
}

/// Which messages of a key are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    EachVersion,
    NewestOnly,
}

/// What became of a message in the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    Applied,
    Again(String),
    Refused(String),
    Panicked(String),
}

impl From<Outcome> for Handled {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied => Self::Applied,
            Outcome::Again(why) => Self::Again(why.to_owned()),
            Outcome::Refused(why) => Self::Refused(why.to_owned()),
        }
    }
}

type Handle<C> = Arc<
    dyn for<'a> Fn(
            &'a mut ClientSession,
            &'a C,
            &'a Envelope,
            &'a [u8],
        ) -> BoxFuture<'a, mongodb::error::Result<Handled>>
        + Send
        + Sync,
>;

/// What a service consumes of one stream. `C` is what its handler works with.
pub struct Consumer<C> {
    pub(crate) name: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) types: &'static [&'static str],
    pub(crate) order: Order,
    /// For the AsyncAPI document.
    pub(crate) payload: fn() -> Payload,
    handle: Handle<C>,
}

impl<C> Clone for Consumer<C> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
            ..*self
        }
    }
}

impl<C: Sync + 'static> Consumer<C> {
    /// Applies each version of a key after the one before it: for facts, such as created and cancelled.
    ///
    /// `name` is the consumer's in its service, `stream` the stream's where the configuration names no other. `types` are those that the
    /// handler knows, all of one noun; others of that noun are not even read, and count as applied.
    ///
    /// The handler works in the transaction that marks the message as applied: what it writes with the session, and what it records in the
    /// outbox, is saved once with the mark or not at all. It may run more than once. It returns the driver's errors as they are.
    ///
    /// # Panics
    /// Where the types are of several nouns, or there is none, or the name has other characters than letters, digits and `_`.
    pub fn each_version<T, F>(
        name: &'static str,
        stream: &'static str,
        types: &'static [&'static str],
        handler: F,
    ) -> Self
    where
        T: DeserializeOwned + ToSchema + Send + Sync + 'static,
        F: for<'a> Fn(
                &'a mut ClientSession,
                &'a C,
                &'a Received<T>,
            ) -> BoxFuture<'a, mongodb::error::Result<Outcome>>
            + Send
            + Sync
            + 'static,
    {
        // At the stream it stands behind the service's name and a `-`.
        assert!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|it| it == b'_' || it.is_ascii_alphanumeric()),
            "a consumer's name is letters, digits and _: {name}"
        );
        let nouns = || types.iter().map(|name| noun_of(name));
        let noun = nouns().next().expect("a consumer knows a type");
        assert!(
            nouns().all(|it| it == noun),
            "the versions of one consumer's keys are those of one noun"
        );
        let handler = Arc::new(handler);
        let handle: Handle<C> = Arc::new(move |session, context, envelope, payload| {
            let handler = Arc::clone(&handler);
            let handled = async move {
                let data = match serde_json::from_slice(payload) {
                    Ok(data) => data,
                    Err(error) => return Ok(Handled::Refused(unreadable(&error))),
                };
                let received = envelope.with(data);
                Ok(handler(session, context, &received).await?.into())
            };
            AssertUnwindSafe(handled)
                .catch_unwind()
                .map(|ended| ended.unwrap_or_else(|panic| Ok(Handled::Panicked(said(&*panic)))))
                .boxed()
        });
        Self {
            name,
            stream,
            types,
            order: Order::EachVersion,
            payload: Payload::of::<T>,
            handle,
        }
    }

    /// Applies a version that is newer than the last one, and skips what is older: for replicas, whose messages tell all of a thing.
    /// A message of another type moves no mark: it does not tell what its thing is now. Otherwise as [`Consumer::each_version`].
    ///
    /// # Panics
    /// Where the types are of several nouns, or there is none, or the name has other characters than letters, digits and `_`.
    pub fn newest_only<T, F>(
        name: &'static str,
        stream: &'static str,
        types: &'static [&'static str],
        handler: F,
    ) -> Self
    where
        T: DeserializeOwned + ToSchema + Send + Sync + 'static,
        F: for<'a> Fn(
                &'a mut ClientSession,
                &'a C,
                &'a Received<T>,
            ) -> BoxFuture<'a, mongodb::error::Result<Outcome>>
            + Send
            + Sync
            + 'static,
    {
        Self {
            order: Order::NewestOnly,
            ..Self::each_version(name, stream, types, handler)
        }
    }

    pub(crate) fn handle<'a>(
        &'a self,
        session: &'a mut ClientSession,
        context: &'a C,
        envelope: &'a Envelope,
        payload: &'a [u8],
    ) -> BoxFuture<'a, mongodb::error::Result<Handled>> {
        (self.handle)(session, context, envelope, payload)
    }
}

impl<C> Consumer<C> {
    /// Its name in the service, which its flags, its durable at the stream and its metrics are named after.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The stream that it consumes where the configuration names no other.
    pub fn stream(&self) -> &'static str {
        self.stream
    }

    /// What its messages are of: `order`.
    pub(crate) fn noun(&self) -> &'static str {
        noun_of(self.types[0])
    }

    pub(crate) fn knows(&self, r#type: &str) -> bool {
        self.types.contains(&r#type)
    }
}

/// Where it can't be read, never what stands there.
fn unreadable(error: &serde_json::Error) -> String {
    let (kind, line, column) = (error.classify(), error.line(), error.column());
    format!("its payload can't be read: {kind:?} error in line {line}, column {column}")
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or(panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "its handler panicked: {}",
        text.unwrap_or("it said nothing")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &'static str) -> Consumer<()> {
        Consumer::each_version::<(), _>(name, "ORDERS", &["order.created"], |_, _, _| {
            Box::pin(async { Ok(Outcome::Applied) })
        })
    }

    #[test]
    fn a_name_that_could_be_a_part_of_the_services_is_refused() {
        assert_eq!(named("audit_2").name(), "audit_2");
        for name in ["orders-audit", "a.b", "a b", "*", ""] {
            assert!(std::panic::catch_unwind(|| named(name)).is_err(), "{name}");
        }
    }
}
