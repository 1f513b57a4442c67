//! Who asks later is told no less, and what is saved is published soon.

use super::{
    both::{of_orders, order},
    *,
};
use crate::checker::times::waits;

/// The good history, with a second between its writes.
fn spread() -> Observed {
    let mut observed = good();
    for (attempt, began_ms) in observed.attempts.iter_mut().zip([0, 1_000, 2_000, 3_000]) {
        attempt.began_ms = began_ms;
        attempt.ended_ms = began_ms + 100;
    }
    observed
}

fn seen_again(event: &Event, stored_ms: u64) -> Seen {
    Seen {
        id: Some(event.id.clone()),
        sequence: 9,
        stored_ms,
        stream: 0,
    }
}

fn read(version: Option<i64>, began_ms: u64) -> Read {
    Read {
        key: "k".to_owned(),
        version,
        says: Value::Null,
        began_ms,
        ended_ms: began_ms + 50,
    }
}

#[test]
fn a_write_that_began_after_another_was_answered_makes_a_later_version() {
    let mut swapped = spread();
    assert_eq!(kinds(&swapped), []);
    swapped.attempts[1].began_ms = 2_050;
    assert_eq!(kinds(&swapped), []);
    // It was told of after the later one was answered, and made the earlier version.
    swapped.attempts[1].began_ms = 2_200;
    assert_eq!(kinds(&swapped), [Kind::Stale]);
}

#[test]
fn a_change_that_changes_nothing_is_told_no_less_than_was_known() {
    let mut no_change = spread();
    let mut again = attempt("n", accepted(1));
    again.says = json!({ "title": "b" });
    again.answers = vec![answer(1, "b")];
    (again.began_ms, again.ended_ms) = (2_050, 2_060);
    no_change.answers.push(StoredAnswer {
        trace: "n".to_owned(),
        answer: answer(1, "b"),
    });
    no_change.attempts.push(again);
    assert_eq!(kinds(&no_change), []);

    let again = &mut no_change.attempts[4];
    (again.began_ms, again.ended_ms) = (2_150, 2_160);
    assert_eq!(kinds(&no_change), [Kind::Stale]);
}

#[test]
fn a_read_of_less_than_was_answered_or_read_before_it_began_is_stale() {
    let mut reads = spread();
    reads.reads = vec![read(Some(1), 2_050), read(Some(2), 2_060)];
    assert_eq!(kinds(&reads), []);

    for behind in [read(Some(1), 2_150), read(Some(0), 2_120), read(None, 500)] {
        let mut observed = spread();
        observed.reads.push(behind);
        assert_eq!(kinds(&observed), [Kind::Stale]);
        // A primary that does not know of the other tells of the past.
        observed.elections = vec![(400, 2_130), (2_190, 2_195)];
        assert_eq!(kinds(&observed), []);
    }
    // Each member that may lead knew of it long before.
    let mut late = spread();
    late.elections = vec![(4_150, 4_300)];
    late.reads = vec![read(Some(1), 4_200)];
    assert_eq!(kinds(&late), [Kind::Stale]);
    late.elections.push((4_000, 4_160));
    assert_eq!(kinds(&late), []);
    // Another reader knew more.
    reads.reads.push(read(Some(1), 2_115));
    assert_eq!(kinds(&reads), [Kind::Stale]);
}

#[test]
fn if_match_lets_a_change_through_on_its_version_and_refuses_it_on_another_only() {
    let mut named = spread();
    named.attempts[2].if_match = Some(1);
    assert_eq!(kinds(&named), []);
    named.attempts[2].if_match = Some(0);
    assert_eq!(kinds(&named), [Kind::WronglyAccepted]);

    let refused = |if_match, began_ms| {
        let mut observed = spread();
        observed.attempts.push(Attempt {
            path: "/things/k".to_owned(),
            expected: 200,
            if_match: Some(if_match),
            began_ms,
            ended_ms: began_ms + 100,
            ..attempt("m", Outcome::Refused)
        });
        kinds(&observed)
    };
    // The change to version 2 came before, or may have.
    assert_eq!(refused(1, 5_000), []);
    assert_eq!(refused(1, 1_950), []);
    // It had not begun; or nothing ever came.
    assert_eq!(refused(1, 1_200), [Kind::WronglyRefused]);
    assert_eq!(refused(2, 5_000), [Kind::WronglyRefused]);
}

#[test]
fn what_is_published_long_after_its_commit_is_late_unless_nobody_could() {
    let mut late = spread();
    late.messages[2].stored_ms = 22_100;
    assert_eq!(kinds(&late), []);
    late.messages[2].stored_ms = 22_101;
    assert_eq!(kinds(&late), [Kind::Late]);
    // Spans that overlap count once, and what lies between them adds up.
    late.unhealthy = vec![(9_000, 9_500), (9_400, 10_000), (9_800, 12_000)];
    late.messages[2].stored_ms = 25_100;
    assert_eq!(kinds(&late), []);
    late.messages[2].stored_ms = 25_101;
    assert_eq!(kinds(&late), [Kind::Late]);
    // A message that the stream gets again meanwhile takes its time.
    let mut again = late.clone();
    again.seen.push(seen_again(&late.events[0], 5_000));
    for (stored_ms, is_late) in [(25_110, false), (25_111, true)] {
        again.messages[2].stored_ms = stored_ms;
        assert_eq!(kinds(&again).contains(&Kind::Late), is_late, "{stored_ms}");
    }
    late.unhealthy.push((24_000, 40_000));
    late.messages[2].stored_ms = 32_001;
    assert_eq!(kinds(&late), []);

    // Its first copy may have been lost before anybody saw it.
    late.unhealthy.pop();
    late.lost = lost("k", 5_000, 9_000);
    assert_eq!(kinds(&late), []);
    for (from_ms, until_ms) in [(500, 1_500), (33_000, 34_000)] {
        late.lost = lost("k", from_ms, until_ms);
        assert_eq!(kinds(&late), [Kind::Late]);
    }
    late.lost = lost("l", 5_000, 9_000);
    assert_eq!(kinds(&late), [Kind::Late]);

    // The version before was lost earlier, and went first.
    for (again_ms, is_excused) in [(20_000, true), (3_000, false)] {
        let mut behind = late.clone();
        behind.seen.push(seen_again(&late.events[1], again_ms));
        behind.lost = lost("k", 500, 1_500);
        assert_eq!(!kinds(&behind).contains(&Kind::Late), is_excused);
    }
}

#[test]
fn a_message_waits_behind_those_that_the_stream_has_got_again() {
    let mut again = of_orders(vec![order("A", 0), order("B", 0)]);
    for at in [0, 5_000] {
        let copy = |sequence| Seen {
            id: Some("eA0".to_owned()),
            sequence,
            stored_ms: at + sequence,
            stream: 0,
        };
        again.seen.extend((0..100).map(copy));
    }
    again.messages[1].stored_ms = 5_100;
    assert_eq!(waits(&again), [("eA0", 0), ("eB0", 900)].into());
    // Nor does a message of a thousand that come for the first time wait.
    for (at, seen) in again.seen.iter_mut().enumerate() {
        seen.id = Some(format!("e{at}"));
    }
    assert_eq!(waits(&again)["eB0"], 0);
}
