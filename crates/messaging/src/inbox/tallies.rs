//! What is counted, logged and traced of the messages of one consumer.

use std::time::Instant;

use db::printable;
use metrics::{counter, histogram};
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    apply::{Done, NotDone},
    dead_letters::{Conflict, DEAD, Put, Verdict, WAITING},
    envelope::Envelope,
    item::Lane,
};
use crate::{
    Recent,
    metrics::{APPLIED, BASES, CONFLICTS, DELIVERY_TO_COMMIT, PUT_ASIDE, SKIPPED_MESSAGES},
    publisher::sampled,
};

pub(super) struct Tallies {
    pub(super) consumer: &'static str,
    /// Whether a collector takes traces. Without one, no spans are made.
    pub(super) is_traced: bool,
    pub(super) recent: Recent,
}

impl Tallies {
    /// Runs what applies a message in a span that is linked to its publisher's.
    pub(super) async fn traced(
        &self,
        envelope: &Envelope,
        apply: impl Future<Output = Result<Done, NotDone>>,
    ) -> Result<Done, NotDone> {
        let span = self.span(envelope);
        let applied = apply.instrument(span.clone()).await;
        if applied.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        applied
    }

    /// Linked to the publisher's, which ended long ago perhaps; none where that one is not sampled.
    fn span(&self, envelope: &Envelope) -> Span {
        let published = envelope.traceparent.as_deref().filter(|_| self.is_traced);
        let Some(published) = published.and_then(sampled) else {
            return Span::none();
        };
        let span = tracing::info_span!(
            "consume",
            otel.name = format!("consume {}", envelope.r#type),
            otel.kind = "consumer",
            otel.status_code = Empty,
            messaging.system = "nats",
            messaging.operation.type = "process",
            messaging.consumer.group.name = self.consumer,
            message.id = envelope.message_id,
        );
        span.add_link(published);
        span
    }

    pub(super) fn done(&self, envelope: &Envelope, done: &Done, delivered: Option<Instant>) {
        let skipped =
            |reason| counter!(SKIPPED_MESSAGES, "consumer" => self.consumer, "reason" => reason);
        match done {
            Done::Applied { is_known: true, .. } => {
                counter!(APPLIED, "consumer" => self.consumer).increment(1);
                let of = (&*envelope.r#type, &*envelope.key, envelope.version);
                let took = delivered.map(|delivered| delivered.elapsed());
                self.recent.applied(self.consumer, of, took);
                if let Some(delivered) = delivered {
                    histogram!(DELIVERY_TO_COMMIT, "consumer" => self.consumer)
                        .record(delivered.elapsed());
                }
            }
            Done::Applied {
                is_known: false, ..
            } => self.unknown_type(),
            Done::Late => skipped("late").increment(1),
            Done::Aside => skipped("aside").increment(1),
            Done::Conflict(conflict) => self.conflict(&envelope.key, conflict),
        }
    }

    pub(super) fn unknown_type(&self) {
        counter!(SKIPPED_MESSAGES, "consumer" => self.consumer, "reason" => "type").increment(1);
    }

    fn conflict(&self, key: &str, conflict: &Conflict) {
        counter!(CONFLICTS, "consumer" => self.consumer).increment(1);
        tracing::error!(
            consumer = self.consumer,
            message.key = printable(key),
            message.version = conflict.version,
            message.id = printable(&conflict.message_id),
            known.id = printable(&conflict.known),
            "another message of this version is known already; this one is passed over"
        );
    }

    fn count(&self, key: &str, state: &'static str, put: &Put, first: Option<i64>) {
        let count = |state| counter!(PUT_ASIDE, "consumer" => self.consumer, "state" => state);
        let is_first = first.is_some_and(|first| put.versions.contains(&first));
        count(state).increment(is_first.into());
        count(WAITING).increment((put.versions.len() - usize::from(is_first)) as u64);
        let conflicts = put.conflicts.iter();
        conflicts.for_each(|conflict| self.conflict(key, conflict));
    }

    /// A key begins with a version that is not its first.
    pub(super) fn base(&self, envelope: &Envelope) {
        counter!(BASES, "consumer" => self.consumer).increment(1);
        tracing::warn!(
            consumer = self.consumer,
            message.key = printable(&envelope.key),
            message.version = envelope.version,
            "the stream has lost the beginning of a key, which is taken from here on"
        );
    }

    /// The first of a key was put aside, and what waits behind it.
    pub(super) fn put_aside(&self, envelope: &Envelope, verdict: &Verdict, put: &Put) {
        self.count(&envelope.key, verdict.state, put, Some(envelope.version));
        if !put.versions.contains(&envelope.version) {
            return;
        }
        let (key, version) = (printable(&envelope.key), envelope.version);
        let (consumer, state, reason) = (self.consumer, verdict.state, &*verdict.reason);
        if state == DEAD {
            tracing::error!(
                consumer,
                message.key = key,
                message.version = version,
                reason,
                "a message is a dead letter; later ones of its key wait"
            );
        } else {
            tracing::debug!(
                consumer,
                message.key = key,
                message.version = version,
                state,
                reason,
                "a message is put aside"
            );
        }
    }

    /// They are put aside because one before them takes long.
    pub(super) fn overflow(&self, lane: &Lane, put: &Put) {
        self.count(lane.key(), WAITING, put, None);
        let (consumer, messages) = (self.consumer, put.versions.len());
        tracing::debug!(
            consumer,
            messages,
            "messages behind a slow one are put aside"
        );
    }

    pub(super) fn unplaced(&self, sequence: u64, reason: &str) {
        counter!(PUT_ASIDE, "consumer" => self.consumer, "state" => DEAD).increment(1);
        tracing::error!(
            consumer = self.consumer,
            message.sequence = sequence,
            reason,
            "a message tells no key or no version; it is a dead letter"
        );
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;

    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn a_message_has_a_span_where_its_publisher_was_traced_and_there_is_a_collector() {
        let _guard = tracing::subscriber::set_default(Registry::default());
        for (is_traced, traceparent, has_span) in [
            (true, Some(SAMPLED), true),
            (true, Some(NOT_SAMPLED), false),
            (true, None, false),
            (false, Some(SAMPLED), false),
        ] {
            let envelope = Envelope {
                key: "a".to_owned(),
                version: 0,
                message_id: "id".to_owned(),
                r#type: "order.created".to_owned(),
                traceparent: traceparent.map(str::to_owned),
                tracestate: None,
            };
            let consumer = "reservations";
            let span = Tallies {
                consumer,
                is_traced,
                recent: Recent::default(),
            }
            .span(&envelope);
            assert_eq!(!span.is_none(), has_span, "{traceparent:?}");
        }
    }
}
