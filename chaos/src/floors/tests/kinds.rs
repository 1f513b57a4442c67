//! Each kind of operation has its floor.

use super::*;

#[test]
fn a_run_that_shows_nothing_of_a_kind_of_write_or_of_reads_shows_too_little() {
    for (intent, floor) in [
        (
            Intent::IfMatch,
            "accepted changes of the version that If-Match names",
        ),
        (Intent::NoChange, "accepted changes that change nothing"),
        (Intent::Keyless, "accepted writes without a key"),
        (
            Intent::Twice,
            "accepted writes that were sent twice at once",
        ),
    ] {
        let mut without = Run::good();
        let attempts = without.observed.attempts.iter_mut();
        attempts
            .filter(|attempt| attempt.intent == intent)
            .for_each(|attempt| attempt.intent = Intent::Change);
        assert_eq!(without.broken(), [floor]);
    }
    let mut unread = Run::good();
    unread.observed.reads.clear();
    assert_eq!(unread.broken(), ["reads that were judged"]);

    let mut unordered = Run::good();
    unordered.observed.orders.events.clear();
    assert_eq!(unordered.broken(), ["events of orders"]);

    let mut unseen = Run::good();
    unseen.observed.seen.clear();
    let floor = "messages that a consumer saw while all went on";
    assert_eq!(unseen.broken(), [floor]);
}

#[test]
fn a_run_in_which_no_refusal_is_judged_shows_too_little() {
    let floor = ["refusals that were judged"];
    let mut none_asked_for = Run::good();
    let attempts = &mut none_asked_for.observed.attempts;
    attempts.retain(|attempt| !attempt.must_be_refused());
    assert_eq!(none_asked_for.broken(), floor);

    let mut none_answered = Run::good();
    let attempts = none_answered.observed.attempts.iter_mut();
    let to_refuse = attempts.filter(|attempt| attempt.must_be_refused());
    to_refuse.for_each(give_up);
    assert_eq!(none_answered.broken()[0], floor[0]);
}

#[test]
fn a_floor_says_what_was_seen_and_what_is_needed() {
    let floor = Floor::at_least(100, "accepted writes", 0, 200);
    assert_eq!(
        floor.to_string(),
        "accepted writes: 0 of 200, and at least 100 are needed"
    );
    let floor = Floor::at_most(10, "writes without a clear answer", 99, 200);
    assert_eq!(
        floor.to_string(),
        "writes without a clear answer: 99 of 200, and at most 10 are allowed"
    );
}
