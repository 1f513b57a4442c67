//! Every metric of this crate: its name and what it means.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};

pub(crate) const NATS_CONNECTED: &str = "nats_connected";
pub(crate) const UNSENT: &str = "outbox_unsent_events";
pub(crate) const OLDEST_UNSENT: &str = "outbox_oldest_unsent_age_seconds";
pub(crate) const PARKED: &str = "outbox_parked_events";
pub(crate) const HAS_PUBLISHER: &str = "outbox_has_publisher";
pub(crate) const STATUS_READ: &str = "outbox_status_read_timestamp_seconds";
pub(crate) const IS_PUBLISHER: &str = "outbox_is_publisher";
pub(crate) const LEASES_FORCED: &str = "outbox_leases_forced_total";
pub(crate) const LEASE_CHANGES: &str = "outbox_lease_changes_total";
pub(crate) const PUBLISHED: &str = "outbox_published_total";
pub(crate) const PUBLISH_FAILURES: &str = "outbox_publish_failures_total";
pub(crate) const STREAM_CHECK_FAILURES: &str = "outbox_stream_check_failures_total";
pub(crate) const GAPS: &str = "outbox_gaps_total";
pub(crate) const COMMIT_TO_ACK: &str = "outbox_commit_to_ack_seconds";
pub(crate) const SWEEP_SIZE: &str = "outbox_sweep_size_events";
pub(crate) const MARK_SIZE: &str = "outbox_mark_size_events";
/// What the database tells: not known yet, which is not none.
pub(crate) const FIGURES: [&str; 4] = [UNSENT, OLDEST_UNSENT, PARKED, HAS_PUBLISHER];

/// Says what each metric means, and begins those whose labels are known: one that first appears with its first event hides that
/// event from `rate()`.
pub fn describe() {
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
    describe_counter!(
        LEASES_FORCED,
        "Leases that were held until an impossible time, and were taken."
    );
    describe_counter!(PUBLISHED, "Events that the stream acknowledged.");
    describe_counter!(
        PUBLISH_FAILURES,
        "Publications that failed, by reason: broker, key (may succeed later) or parked."
    );
    describe_counter!(
        STREAM_CHECK_FAILURES,
        "Times that this instance looked at the stream and could not use it: no answer, or one that the promise cannot be kept with."
    );
    describe_counter!(
        GAPS,
        "Events that were published although the stream lacks a version below theirs."
    );
    describe_histogram!(
        COMMIT_TO_ACK,
        "Time from the making of an event, a moment before its commit, to the stream's acknowledgement; replayed ones apart."
    );
    describe_histogram!(SWEEP_SIZE, "Events published in one sweep of the backlog.");
    describe_histogram!(MARK_SIZE, "Events marked as sent by one write.");
    begin();
}

fn begin() {
    for name in [IS_PUBLISHER, STATUS_READ] {
        gauge!(name).set(0.0);
    }
    for name in FIGURES {
        gauge!(name).set(f64::NAN);
    }
    for name in [
        LEASE_CHANGES,
        LEASES_FORCED,
        PUBLISHED,
        STREAM_CHECK_FAILURES,
        GAPS,
    ] {
        counter!(name).absolute(0);
    }
    for reason in ["broker", "key", "parked"] {
        counter!(PUBLISH_FAILURES, "reason" => reason).absolute(0);
    }
}
