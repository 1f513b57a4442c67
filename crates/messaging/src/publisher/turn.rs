//! A key's turn: its next events, published one after the other.

use std::{collections::HashMap, pin::pin};

use bson::{DateTime, oid::ObjectId};
use metrics::{counter, histogram};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Publisher, backlog::Turn};
use crate::{
    Event,
    jetstream::{Failure, Whose},
    lease::Lease,
    metrics::{COMMIT_TO_ACK, PUBLISHED},
    outbox::Unpublishable,
    stored::Stored,
};

/// What became of a turn.
pub(super) struct Ended {
    pub(super) key: Stored,
    /// The stream has acknowledged these events, which are to be marked as sent.
    pub(super) acked: Vec<ObjectId>,
    pub(super) then: Then,
}

/// Why the turn ended behind the events that were acknowledged.
pub(super) enum Then {
    /// All of it is published.
    Nothing,
    /// The lease ended.
    LeaseEnded,
    /// A publication, begun then, that failed.
    Failed(Whose, anyhow::Error, Instant),
    /// The connection was lost: what was sent may be stored, and is not acknowledged any more.
    ConnectionLost,
    /// An event that can never be published, and why.
    Parks(Unpublishable),
}

/// Publishes the events of one key, each after the acknowledgement of the one before, until the connection is `cut`.
pub(super) async fn publish(
    publisher: &Publisher,
    lease: &Lease,
    cut: CancellationToken,
    turn: Turn,
) -> Ended {
    let mut ended = Ended {
        key: turn.key,
        acked: Vec::with_capacity(turn.events.len()),
        then: Then::Nothing,
    };
    for event in &turn.events {
        let began = Instant::now();
        if !lease.is_valid(began) {
            ended.then = Then::LeaseEnded;
            return ended;
        }
        publisher.recent.begins(event);
        let span = publisher.span(event);
        // Pinned where it is made: each move would leave room for it once more, in each of hundreds.
        let published = pin!(
            publisher
                .jetstream
                .publish(&publisher.outbox, event)
                .instrument(span.clone())
        );
        let Some(published) = cut.run_until_cancelled(published).await else {
            ended.then = Then::ConnectionLost;
            return ended;
        };
        if published.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        ended.then = match published {
            Ok(()) => {
                counter!(PUBLISHED).increment(1);
                let age = (!event.replay).then(|| age(event));
                if let Some(age) = age {
                    histogram!(COMMIT_TO_ACK).record(age);
                }
                publisher.recent.acknowledged(age);
                ended.acked.push(event.id);
                continue;
            }
            // Nobody can be told of it, which is no reason to keep it.
            Err(Failure::Never(reason) | Failure::Conflict(reason)) if event.is_skipped => {
                tracing::info!(event.id = %event.id, reason, "an event is skipped in silence");
                ended.acked.push(event.id);
                continue;
            }
            Err(Failure::Never(reason)) => parks(event, reason, false),
            Err(Failure::Conflict(reason)) => parks(event, reason, true),
            Err(Failure::Passing(whose, error)) => Then::Failed(whose, error, began),
        };
        return ended;
    }
    if let Some(unreadable) = turn.unreadable {
        ended.then = Then::Parks(unreadable);
    }
    ended
}

fn parks(event: &Event, reason: String, is_conflict: bool) -> Then {
    Then::Parks(Unpublishable {
        id: event.id.into(),
        reason,
        is_conflict,
    })
}

impl Publisher {
    /// Linked to the request's, which ended long ago perhaps; none where that one is not sampled.
    fn span(&self, event: &Event) -> Span {
        let request = event.traceparent.as_deref().filter(|_| self.is_traced);
        let Some(request) = request.and_then(sampled) else {
            return Span::none();
        };
        let span = tracing::info_span!(
            "publish",
            otel.name = format!("publish {}", event.r#type),
            otel.kind = "producer",
            otel.status_code = Empty,
            messaging.system = "nats",
            messaging.operation.type = "send",
            event.id = %event.id,
        );
        span.add_link(request);
        span
    }
}

/// The span that a `traceparent` names, where it is sampled.
pub(crate) fn sampled(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled()).then_some(span)
}

/// Seconds since the event was made, a few milliseconds before its commit.
fn age(event: &Event) -> f64 {
    let now = DateTime::now().timestamp_millis();
    let ms = now.saturating_sub(event.created_at.timestamp_millis());
    ms.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::RawDocumentBuf;
    use tracing_subscriber::Registry;

    use super::*;
    use crate::{
        Metadata,
        lease::tests::lease,
        publisher::{backlog::tests::turn_of, broker::tests::publisher},
    };

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    const INVALID: &str = "00-00000000000000000000000000000000-b7ad6b7169203331-01";

    fn event(created_at: DateTime, traceparent: Option<&str>) -> Event {
        let (key, data) = ("a".to_owned(), RawDocumentBuf::new());
        let metadata = Metadata {
            created_at,
            traceparent: traceparent.map(str::to_owned),
            ..Metadata::now()
        };
        Event::new(metadata, "order.created", key, 0, data)
    }

    #[test]
    fn an_event_is_as_old_as_its_creation_and_never_younger_than_now() {
        let now = DateTime::now().timestamp_millis();
        let of = |created_ms| age(&event(DateTime::from_millis(created_ms), None));
        assert!((2.5..12.5).contains(&of(now - 2_500)));
        assert_eq!(of(now + 60_000), 0.0);
    }

    #[tokio::test]
    async fn a_publication_has_a_span_where_its_request_is_sampled_and_there_is_a_collector() {
        let _guard = tracing::subscriber::set_default(Registry::default());
        for (is_traced, traceparent, has_span) in [
            (true, Some(SAMPLED), true),
            (true, Some(NOT_SAMPLED), false),
            (true, Some(INVALID), false),
            (true, None, false),
            (false, Some(SAMPLED), false),
        ] {
            let publisher = Publisher {
                is_traced,
                ..(*publisher().await).clone()
            };
            let span = publisher.span(&event(DateTime::now(), traceparent));
            assert_eq!(!span.is_none(), has_span, "{traceparent:?}");
        }
        let linked = sampled(SAMPLED).unwrap().trace_id().to_string();
        assert_eq!(linked, SAMPLED[3..35]);
    }

    #[tokio::test]
    async fn nothing_is_published_when_the_lease_has_ended_or_the_connection_is_cut() {
        let now = Instant::now();
        let (valid, cut) = (now + Duration::from_secs(3600), CancellationToken::new());
        let (publisher, ended) = (publisher().await, lease(now, None).await);
        let ended = publish(&publisher, &ended, cut.clone(), turn_of(1)).await;
        assert!(matches!(ended.then, Then::LeaseEnded) && ended.acked.is_empty());
        cut.cancel();
        let lease = lease(valid, None).await;
        let ended = publish(&publisher, &lease, cut, turn_of(1)).await;
        assert!(matches!(ended.then, Then::ConnectionLost) && ended.acked.is_empty());
    }

    #[tokio::test]
    async fn a_turn_in_flight_takes_two_kilobytes_at_most() {
        let valid = Instant::now() + Duration::from_secs(3600);
        let (publisher, lease) = (publisher().await, lease(valid, None).await);
        let turn = publish(&publisher, &lease, CancellationToken::new(), turn_of(1));
        assert!(size_of_val(&turn) <= 2048, "{}", size_of_val(&turn));
    }
}
