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
pub(crate) const APPLIED: &str = "inbox_applied_total";
pub(crate) const SKIPPED_MESSAGES: &str = "inbox_skipped_total";
pub(crate) const PUT_ASIDE: &str = "inbox_put_aside_total";
pub(crate) const CONFLICTS: &str = "inbox_conflicts_total";
pub(crate) const BASES: &str = "inbox_bases_total";
pub(crate) const LAG_MESSAGES: &str = "inbox_lag_messages";
pub(crate) const LAG_SECONDS: &str = "inbox_lag_seconds";
pub(crate) const STREAM_MISSING: &str = "inbox_stream_missing";
pub(crate) const DEAD_LETTERS: &str = "inbox_dead_letters";
pub(crate) const OLDEST_WAITING: &str = "inbox_oldest_waiting_age_seconds";
pub(crate) const INBOX_READ: &str = "inbox_status_read_timestamp_seconds";
pub(crate) const DELIVERY_TO_COMMIT: &str = "inbox_delivery_to_commit_seconds";
/// What the database tells: not known yet, which is not none.
pub(crate) const FIGURES: [&str; 4] = [UNSENT, OLDEST_UNSENT, PARKED, HAS_PUBLISHER];

/// Says what each metric means, and begins those whose labels are known: one that first appears with its first event hides that
/// event from `rate()`.
pub fn describe() {
    describe_gauge!(
        NATS_CONNECTED,
        "1 while there is a connection to NATS; by `consumes` those of consumers, each of which has its own."
    );
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
    describe_inbox();
    begin();
}

/// All are by consumer, which begins them.
fn describe_inbox() {
    describe_counter!(APPLIED, "Messages that their handler applied.");
    describe_counter!(
        SKIPPED_MESSAGES,
        "Messages without anything to do, by reason: late (it is applied, or a newer one is), type (nobody knows it here) or aside (it is put aside already)."
    );
    describe_counter!(
        PUT_ASIDE,
        "Messages that were put aside, by state; one that is tried again and fails counts again."
    );
    describe_counter!(
        CONFLICTS,
        "Messages that were passed over because another one has their key and version."
    );
    describe_counter!(
        BASES,
        "Keys that begin with a later version, because the stream has lost their beginning."
    );
    describe_gauge!(
        LAG_MESSAGES,
        "Messages of the stream that are not acknowledged yet."
    );
    describe_gauge!(
        LAG_SECONDS,
        "Age of the first of them; 0 where there is none."
    );
    describe_gauge!(
        STREAM_MISSING,
        "1 while the stream or the consumer in it cannot be used."
    );
    describe_gauge!(
        DEAD_LETTERS,
        "Messages that are put aside, by state; counted to 100000."
    );
    describe_gauge!(
        OLDEST_WAITING,
        "Since when the oldest message waits whose predecessor is missing or put aside; 0 where there is none."
    );
    describe_gauge!(
        INBOX_READ,
        "When the figures above were last read from the database, in seconds since 1970; they are NaN where they could not be."
    );
    describe_histogram!(
        DELIVERY_TO_COMMIT,
        "Time from the delivery of a message to the commit of what its handler did."
    );
}

/// Begins the counters of a consumer: one that first appears with its first event hides that event from `rate()`.
pub(crate) fn begin_consumer(consumer: &'static str) {
    for name in [APPLIED, CONFLICTS, BASES] {
        counter!(name, "consumer" => consumer).absolute(0);
    }
    for reason in ["late", "type", "aside"] {
        counter!(SKIPPED_MESSAGES, "consumer" => consumer, "reason" => reason).absolute(0);
    }
    for state in ["waiting", "retrying", "dead"] {
        counter!(PUT_ASIDE, "consumer" => consumer, "state" => state).absolute(0);
    }
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
