//! Every metric's name and meaning, and how they are read: Prometheus text.

use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config::SERVICE;

pub const HTTP_DURATION: &str = "http_server_request_duration_seconds";
pub const HTTP_REFUSED: &str = "http_server_requests_refused_total";
pub const NATS_CONNECTED: &str = "nats_connected";
pub const UNSENT: &str = "outbox_unsent_events";
pub const OLDEST_UNSENT: &str = "outbox_oldest_unsent_age_seconds";
pub const PARKED: &str = "outbox_parked_events";
pub const HAS_PUBLISHER: &str = "outbox_has_publisher";
pub const STATUS_READ: &str = "outbox_status_read_timestamp_seconds";
pub const IS_PUBLISHER: &str = "outbox_is_publisher";
pub const LEASE_CHANGES: &str = "outbox_lease_changes_total";
pub const PUBLISHED: &str = "outbox_published_total";
pub const PUBLISH_FAILURES: &str = "outbox_publish_failures_total";
pub const COMMIT_TO_ACK: &str = "outbox_commit_to_ack_seconds";
pub const SWEEP_SIZE: &str = "outbox_sweep_size_events";
pub const MARK_SIZE: &str = "outbox_mark_size_events";

const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
const EVENTS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1_000.0, 10_000.0];

/// Collects metrics from now on; the same for every call in a process.
///
/// # Errors
/// When another recorder was installed before.
pub fn install() -> anyhow::Result<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Result<PrometheusHandle, BuildError>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
                .set_buckets_for_metric(Matcher::Suffix("_size_events".to_owned()), &EVENTS)?;
            let handle = builder.install_recorder()?;
            db::describe();
            describe();
            begin();
            Ok(handle)
        })
        .as_ref()
        .map_err(|error| anyhow::anyhow!("metrics cannot be collected: {error}"))
}

fn describe() {
    describe_histogram!(
        HTTP_DURATION,
        "Time from a request's head to its answer's, by method, route and status; status is aborted where the client hung up before."
    );
    describe_gauge!(NATS_CONNECTED, "1 while there is a connection to NATS.");
    describe_gauge!(
        UNSENT,
        "Events that are not published yet, parked ones among them; counted to 100000."
    );
    describe_gauge!(
        OLDEST_UNSENT,
        "Age of the oldest event among those that waits to be published, and not behind a parked one; 0 where there is none."
    );
    describe_gauge!(
        PARKED,
        "Events among those that cannot be published and wait for an operator."
    );
    describe_gauge!(
        HAS_PUBLISHER,
        "1 while any instance holds the publisher's lease."
    );
    describe_gauge!(
        STATUS_READ,
        "When the figures above were last read from the database, in seconds since 1970; they are NaN where they could not be."
    );
    describe_gauge!(IS_PUBLISHER, "1 while this instance publishes.");
    describe_counter!(LEASE_CHANGES, "Times that this instance began to publish.");
    describe_counter!(PUBLISHED, "Events that the stream acknowledged.");
    describe_counter!(
        PUBLISH_FAILURES,
        "Publications that failed, by reason: broker, event (may succeed later) or parked."
    );
    describe_histogram!(
        COMMIT_TO_ACK,
        "Time from the making of an event, a moment before its commit, to the stream's acknowledgement; replayed ones apart."
    );
    describe_histogram!(SWEEP_SIZE, "Events published in one sweep of the backlog.");
    describe_histogram!(MARK_SIZE, "Events marked as sent by one write.");
    describe_counter!(
        HTTP_REFUSED,
        "Requests that were refused (503) because CONCURRENCY_LIMIT were being worked on, or too many wait for MongoDB."
    );
    describe_gauge!("build_info", "1, with the name and version of the program.");
}

/// Makes every series whose labels are known: one that first appears with its first event hides that event from `rate()`.
fn begin() {
    gauge!("build_info", "service" => SERVICE, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for name in [IS_PUBLISHER, STATUS_READ] {
        gauge!(name).set(0.0);
    }
    // Not known yet, which is not none.
    for name in [UNSENT, OLDEST_UNSENT, PARKED, HAS_PUBLISHER] {
        gauge!(name).set(f64::NAN);
    }
    for name in [HTTP_REFUSED, LEASE_CHANGES, PUBLISHED] {
        counter!(name).absolute(0);
    }
    for reason in ["broker", "event", "parked"] {
        counter!(PUBLISH_FAILURES, "reason" => reason).absolute(0);
    }
}
