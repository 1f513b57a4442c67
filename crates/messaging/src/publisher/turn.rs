//! A key's turn: its next events, published one after the other.

use std::{collections::HashMap, sync::Arc};

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

use super::{Publisher, backlog::Turn, lease::Lease};
use crate::{
    Event,
    jetstream::{Failure, Whose},
    metrics::{COMMIT_TO_ACK, PUBLISHED},
    stored::Stored,
};

/// What became of a turn.
pub(super) struct Ended {
    pub(super) key: Stored,
    /// What is to be marked as sent.
    pub(super) acked: Vec<ObjectId>,
    pub(super) then: Then,
}

/// What came behind the events that were acknowledged.
pub(super) enum Then {
    /// No more.
    Nothing,
    /// The lease ended.
    CutShort,
    /// A publication, begun then, that failed.
    Failed(Whose, anyhow::Error, Instant),
    /// The connection was lost: what was sent may be stored, and is not acknowledged any more.
    CutOff,
    /// An event that can never be published, and why.
    Parks(Unpublishable),
}

/// An event that can never be published.
#[derive(Debug)]
pub(crate) struct Unpublishable {
    pub(crate) id: Stored,
    pub(crate) reason: String,
    /// Whether the stream holds another event in its place.
    pub(crate) is_conflict: bool,
}

/// Publishes the events of one key, each after the acknowledgement of the one before, until the connection is `cut`.
pub(super) async fn publish(
    publisher: Arc<Publisher>,
    lease: Lease,
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
            ended.then = Then::CutShort;
            return ended;
        }
        let span = publisher.span(event);
        let published = publisher.jetstream.publish(&publisher.outbox, event);
        let published = published.instrument(span.clone());
        let Some(published) = cut.run_until_cancelled(published).await else {
            ended.then = Then::CutOff;
            return ended;
        };
        if published.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        let parks = |reason, is_conflict| {
            let id = event.id.into();
            Then::Parks(Unpublishable {
                id,
                reason,
                is_conflict,
            })
        };
        ended.then = match published {
            Ok(()) => {
                counter!(PUBLISHED).increment(1);
                if !event.replay {
                    histogram!(COMMIT_TO_ACK).record(age(event));
                }
                ended.acked.push(event.id);
                continue;
            }
            // Nobody can be told of it, which is no reason to keep it.
            Err(Failure::Never(reason) | Failure::Conflict(reason)) if event.is_skipped => {
                tracing::info!(event.id = %event.id, reason, "an event is skipped in silence");
                ended.acked.push(event.id);
                continue;
            }
            Err(Failure::Never(reason)) => parks(reason, false),
            Err(Failure::Conflict(reason)) => parks(reason, true),
            Err(Failure::Passing(whose, error)) => Then::Failed(whose, error, began),
        };
        return ended;
    }
    if let Some(unreadable) = turn.unreadable {
        ended.then = Then::Parks(unreadable);
    }
    ended
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
fn sampled(traceparent: &str) -> Option<SpanContext> {
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
