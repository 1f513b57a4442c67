//! One sweep: publishes the backlog, many keys at once and each in order, and marks what was acknowledged
//! while the rest is being published.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
};

use bson::{DateTime, oid::ObjectId};
use futures_util::{StreamExt, stream::FuturesUnordered};
use metrics::{counter, histogram};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    Publisher,
    backlog::{Turn, walk},
    lease::Lease,
    marks::{LARGEST_MARK, mark},
};
use crate::{
    Event,
    jetstream::Failure,
    metrics::{COMMIT_TO_ACK, PUBLISH_FAILURES, PUBLISHED},
    parked::Parked,
    stored::Stored,
};

/// Keys in flight at once; below the client's own limit of acknowledgements that are waited for.
const KEYS_IN_FLIGHT: usize = 512;
/// Turns that are read before there is room for them.
const TURNS_AHEAD: usize = 128;
const MARKS_IN_FLIGHT: usize = 4;
/// Keys that a query names; the others are read in vain.
const MOST_LEFT_OUT: usize = 1_000;

/// What a sweep came to.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) published: usize,
    /// What was published and is not marked yet: less than a mark is worth while a sweep lasts.
    pub(super) unmarked: Vec<ObjectId>,
    /// Something was left behind, for another sweep at once.
    pub(super) left_some: bool,
    /// Something failed that a later attempt may not.
    pub(super) try_again: bool,
    /// The broker takes nothing for now.
    pub(super) broker_failed: bool,
}

impl Swept {
    /// Takes in what became of a turn; of which key what is to be parked, and why.
    fn add(&mut self, result: TurnResult) -> Option<(Stored, Stored, String)> {
        self.left_some |= result.cut_short;
        self.published += result.acked.len();
        self.unmarked.extend(result.acked);
        match result.failure {
            Some(Failure::Broker(error)) => {
                if !self.broker_failed {
                    tracing::warn!(error = format!("{error:#}"), "cannot publish");
                }
                self.broker_failed = true;
            }
            Some(Failure::Event(error)) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "an event could not be published"
                );
                self.try_again = true;
            }
            Some(Failure::Never(_)) | None => {}
        }
        let (id, reason) = result.parked?;
        Some((result.key, id, reason))
    }
}

/// What became of a turn.
struct TurnResult {
    key: Stored,
    acked: Vec<ObjectId>,
    parked: Option<(Stored, String)>,
    failure: Option<Failure>,
    /// Whether it ended because the lease did.
    cut_short: bool,
}

/// Publishes what is unsent, once for each key, but for `unmarked`, which was published before. On `enough` it
/// finishes what is in flight, and no more.
pub(super) async fn sweep(
    publisher: &Publisher,
    lease: &Lease,
    unmarked: &HashSet<ObjectId>,
    parked: &mut Parked,
    enough: &CancellationToken,
) -> mongodb::error::Result<Swept> {
    let mut swept = Swept::default();
    // A task, so that it reads ahead while the broker answers, and no future of the driver is dropped.
    let (sender, mut backlog) = mpsc::channel(TURNS_AHEAD);
    let named = parked.keys.iter().filter(|key| key.stands_for_itself());
    let left_out = named.take(MOST_LEFT_OUT).cloned().collect();
    let mut walk = tokio::spawn(walk(publisher.outbox.clone(), left_out, sender));
    let mut left_some = None;
    let mut turns = FuturesUnordered::new();
    let mut marks = FuturesUnordered::new();
    let mut reading = true;
    let publisher = Arc::new(publisher.clone());
    loop {
        reading &= !swept.broker_failed && !enough.is_cancelled() && lease.is_valid();
        while makes_a_mark(swept.unmarked.len(), marks.len()) {
            let batch = swept.unmarked.drain(..LARGEST_MARK).collect();
            let forget = parked.some_are_tried_again;
            marks.push(tokio::spawn(mark(publisher.outbox.clone(), batch, forget)));
        }
        if !reading && turns.is_empty() && marks.is_empty() {
            swept.left_some |= left_some.unwrap_or(true);
            return Ok(swept);
        }
        tokio::select! {
            Some(result) = turns.next() => {
                if let Some((key, id, reason)) = swept.add(result) {
                    parked.keys.insert(key);
                    marks.push(tokio::spawn(publisher.outbox.clone().park(id, reason)));
                }
            }
            Some(marked) = marks.next() => marked.map_err(io::Error::other)??,
            turn = backlog.recv(), if reading && turns.len() < KEYS_IN_FLIGHT => match turn {
                // A query can't name it, or not so many.
                Some(turn) if parked.keys.contains(&turn.key) => {}
                Some(mut turn) => {
                    turn.events.retain(|event| !unmarked.contains(&event.id));
                    turns.push(publish(Arc::clone(&publisher), lease.clone(), turn));
                }
                None => {
                    reading = false;
                    left_some = Some((&mut walk).await.map_err(io::Error::other)??);
                }
            },
            () = tokio::time::sleep(publisher.timing.sweep_stalled_after) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }
}

/// Whether so many events are marked at once, beside so many other marks.
fn makes_a_mark(unmarked: usize, in_flight: usize) -> bool {
    unmarked >= LARGEST_MARK && in_flight < MARKS_IN_FLIGHT
}

/// Publishes the events of one key, each after the acknowledgement of the one before.
async fn publish(publisher: Arc<Publisher>, lease: Lease, turn: Turn) -> TurnResult {
    let mut result = TurnResult {
        key: turn.key,
        acked: Vec::with_capacity(turn.events.len()),
        parked: None,
        failure: None,
        cut_short: false,
    };
    for event in &turn.events {
        if !lease.is_valid() {
            result.cut_short = true;
            return result;
        }
        let span = publisher.span(event);
        let published = publisher.jetstream.publish(&publisher.outbox, event);
        let published = published.instrument(span.clone()).await;
        if published.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        match published {
            Ok(()) => {
                counter!(PUBLISHED).increment(1);
                if !event.replay {
                    histogram!(COMMIT_TO_ACK).record(age(event));
                }
                result.acked.push(event.id);
            }
            Err(Failure::Never(reason)) => {
                counter!(PUBLISH_FAILURES, "reason" => "parked").increment(1);
                result.parked = Some((event.id.into(), reason));
                return result;
            }
            Err(failure) => {
                let reason = match failure {
                    Failure::Broker(_) => "broker",
                    _ => "event",
                };
                counter!(PUBLISH_FAILURES, "reason" => reason).increment(1);
                result.failure = Some(failure);
                return result;
            }
        }
    }
    result.parked = turn.unreadable;
    result
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
    let ms = DateTime::now().timestamp_millis() - event.created_at.timestamp_millis();
    ms.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_events_are_marked_at_once_beside_at_most_three_other_marks() {
        assert!(makes_a_mark(1_000, 0));
        assert!(makes_a_mark(2_000, 3));
        assert!(!makes_a_mark(999, 0));
        assert!(!makes_a_mark(5_000, 4));
        assert!(!makes_a_mark(5_000, 5));
    }
}
