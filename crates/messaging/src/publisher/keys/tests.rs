use std::time::Duration;

use super::*;

mod another;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any delay.
const LATER: Duration = Duration::from_secs(3600);

fn key(name: &str) -> Stored {
    Stored::from(name)
}

fn keys() -> (Keys, Instant) {
    let keys = Keys::new(Timing::default(), GaveUp::default());
    (keys, Instant::now())
}

fn fail(keys: &mut Keys, names: &[&str], now: Instant) {
    for name in names {
        keys.failed(key(name), now, now);
    }
}

#[test]
fn a_key_in_hand_is_left_out_until_all_of_it_is_finished() {
    let (mut keys, _) = keys();
    let ids = vec![ObjectId::new()];
    keys.begin(key("a"), ids.clone(), false);
    let left_out = |comes_back| Look::LeaveOut { comes_back };
    assert_eq!(keys.look_at(&key("a"), &ids, false), left_out(false));
    assert_eq!(keys.look_at(&key("b"), &ids, false), Look::Begin);
    assert!(!keys.begin_mark(&key("a")));
    assert!(!keys.finish(&key("a")), "its mark is not");
    assert_eq!(keys.look_at(&key("a"), &ids, false), left_out(false));
    assert!(!keys.finish_mark(&key("a"), &ids), "there is no more of it");
    assert_eq!(keys.look_at(&key("a"), &ids, false), Look::Begin);
}

#[test]
fn a_sweep_comes_back_for_a_key_that_it_left_out_with_an_event_that_is_not_in_hand() {
    let (mut keys, _) = keys();
    let (first, second) = (ObjectId::new(), ObjectId::new());
    keys.begin(key("a"), vec![first], false);
    assert_eq!(keys.to_leave_out().count(), 0);
    let look = keys.look_at(&key("a"), &[first, second], false);
    assert_eq!(look, Look::LeaveOut { comes_back: true });
    assert_eq!(keys.to_leave_out().collect::<Vec<_>>(), [&key("a")]);
    assert!(keys.begin_mark(&key("a")), "a sweep waits for it");
    assert!(!keys.finish(&key("a")));
    assert!(keys.finish_mark(&key("a"), &[first]));
}

#[test]
fn a_sweep_comes_back_for_a_key_in_hand_that_has_more_than_a_turn() {
    let (mut keys, _) = keys();
    let ids = vec![ObjectId::new()];
    keys.begin(key("a"), ids.clone(), false);
    let look = keys.look_at(&key("a"), &ids, true);
    assert_eq!(look, Look::LeaveOut { comes_back: true });
    assert!(keys.finish(&key("a")));
}

#[test]
fn a_sweep_that_read_an_event_before_its_mark_does_not_publish_it_again() {
    let (mut keys, _) = keys();
    let [before, after] = [ObjectId::new(), ObjectId::new()];
    keys.begin_sweep();
    keys.begin(key("a"), vec![before], false);
    keys.begin_sweep();
    keys.begin(key("b"), vec![after], false);
    keys.finish_mark(&key("a"), &[before]);
    keys.finish_mark(&key("b"), &[after]);
    assert!(keys.is_just_marked(&before));
    assert!(!keys.is_just_marked(&after), "this sweep reads it once");
    keys.begin_sweep();
    assert!(!keys.is_just_marked(&before));
}

#[test]
fn a_failing_key_waits_with_growing_delays_and_a_success_ends_them() {
    let (mut keys, mut now) = keys();
    let mut delays = Vec::new();
    for _ in 0..12 {
        fail(&mut keys, &["a"], now);
        let look = keys.look_at(&key("a"), &[], false);
        assert_eq!(look, Look::LeaveOut { comes_back: false });
        assert!(!keys.try_again(now));
        let until = keys.next_try().unwrap();
        delays.push(until - now);
        now = until;
        assert!(keys.try_again(now));
        assert_eq!(keys.look_at(&key("a"), &[], false), Look::Begin);
    }
    assert!(delays[0] >= Duration::from_millis(50) && delays[0] <= Duration::from_millis(100));
    assert!(delays[3] >= Duration::from_millis(400), "{delays:?}");
    assert_eq!(delays[11], Duration::from_secs(30));
    keys.succeeded(&key("a"), now);
    assert!(keys.failing.is_empty());
    fail(&mut keys, &["a"], now);
    assert!(keys.next_try().unwrap() - now <= Duration::from_millis(100));
}

#[test]
fn where_three_keys_fail_and_none_succeeds_fewer_are_in_flight_and_one_is_tried_at_a_time() {
    let (mut keys, now) = keys();
    fail(&mut keys, &["a", "b", "b"], now);
    assert!(!keys.stream_fails());
    assert!(keys.has_room_beside(511) && !keys.has_room_beside(512));
    fail(&mut keys, &["c"], now);
    assert!(keys.stream_fails());
    assert!(keys.has_room_beside(15) && !keys.has_room_beside(16));
    let later = now + LATER;
    let tried = |keys: &Keys| keys.failing.keys().count() - keys.failing.waiting().count();
    assert!(keys.try_again(later));
    assert_eq!(tried(&keys), 1);
    assert!(!keys.try_again(later), "the next one waits for a while");
    assert!(keys.next_try().unwrap() <= later + SECOND);
    assert!(keys.try_again(later + SECOND));
    assert_eq!(tried(&keys), 2);
    assert!(!keys.succeeded(&key("d"), now), "it had not failed");
    assert!(!keys.stream_fails());
    assert_eq!(tried(&keys), 2, "the third waits on");
    assert!(
        keys.succeeded(&key("a"), now),
        "it was the stream that failed"
    );
    assert_eq!(tried(&keys), 2, "no key waits any more");
    assert_eq!(keys.next_try(), None);
}

#[test]
fn a_key_that_failed_by_itself_ends_no_others_delay() {
    let (mut keys, now) = keys();
    fail(&mut keys, &["a", "b"], now);
    assert!(!keys.succeeded(&key("a"), now));
    assert!(keys.next_try().is_some(), "the other waits on");
    assert!(!keys.failing.is_empty());
}

#[test]
fn a_key_that_is_tried_again_and_has_nothing_unsent_any_more_fails_no_more() {
    let (mut keys, now) = keys();
    keys.begin_sweep();
    fail(&mut keys, &["a", "b", "c"], now);
    keys.end_delays(now);
    keys.end_sweep();
    assert!(
        !keys.failing.is_empty(),
        "this sweep may have read past them"
    );
    keys.begin_sweep();
    keys.begin(key("a"), vec![ObjectId::new()], false);
    keys.failed(key("b"), now, now);
    keys.end_sweep();
    let mut left: Vec<_> = keys.failing.keys().filter_map(Stored::text).collect();
    left.sort_unstable();
    assert_eq!(left, ["a", "b"], "one in hand, one that waits");
}

#[test]
fn a_stream_that_says_that_it_is_full_fails_at_once() {
    let (mut keys, now) = keys();
    keys.stream_says_so();
    fail(&mut keys, &["a"], now);
    assert!(keys.stream_fails());
    assert!(keys.try_again(now + SECOND));
    keys.succeeded(&key("a"), now);
    assert!(!keys.stream_fails());
}

#[test]
fn the_pauses_of_the_one_key_that_is_tried_stay_below_a_second() {
    let (mut keys, mut now) = keys();
    fail(&mut keys, &["a", "b", "c"], now);
    for _ in 0..20 {
        let next = keys.next_try().unwrap();
        assert!(next - now <= SECOND, "{:?}", next - now);
        now = next;
        assert!(keys.try_again(now));
        for name in ["a", "b", "c"] {
            if keys.look_at(&key(name), &[], false) == Look::Begin {
                fail(&mut keys, &[name], now);
            }
        }
    }
}

#[test]
fn of_more_than_ten_thousand_failing_keys_the_others_are_tried_again_and_again_a_few_at_a_time() {
    let (mut keys, now) = keys();
    for number in 0..10_000 {
        keys.failed(key(&number.to_string()), now, now);
        keys.succeeded(&key("good"), now);
    }
    assert!(keys.has_room_beside(15) && !keys.has_room_beside(16));
    keys.failed(key("another"), now, now);
    assert_eq!(keys.failing.keys().count(), 10_000);
    assert_eq!(keys.look_at(&key("another"), &[], false), Look::Begin);
    keys.end_delays(now);
    keys.succeeded(&key("7"), now);
    assert!(keys.has_room_beside(511));
}

#[test]
fn a_key_whose_mark_is_refused_fails_until_it_is_marked_however_often_it_is_published() {
    let (mut keys, mut now) = keys();
    let ids = vec![ObjectId::new()];
    for doubled in 0..4 {
        keys.begin(key("a"), ids.clone(), false);
        assert!(!keys.succeeded(&key("a"), now));
        keys.begin_mark(&key("a"));
        keys.finish(&key("a"));
        keys.finish(&key("a"));
        keys.refused(key("a"), now);
        let until = keys.next_try().unwrap();
        let least = Duration::from_millis(50) * 2_u32.pow(doubled);
        assert!(until - now >= least, "{:?}", until - now);
        now = until;
        keys.try_again(now);
    }
    keys.begin(key("a"), ids.clone(), false);
    assert_eq!(keys.trouble(now + LATER), None, "nobody could mark it");
    assert!(!keys.stream_fails());
    keys.finish_mark(&key("a"), &ids);
    assert!(keys.failing.is_empty());
}

/// The stream had room again before it was told whose the failure was.
#[test]
fn a_failure_that_began_before_all_delays_ended_delays_nothing() {
    let (mut keys, now) = keys();
    fail(&mut keys, &["a", "b", "c"], now);
    keys.end_delays(now + SECOND);
    assert!(keys.failed(key("a"), now, now + 2 * SECOND));
    assert_eq!(keys.look_at(&key("a"), &[], false), Look::Begin);
    assert_eq!(keys.next_try(), None);
    assert!(!keys.failed(key("a"), now + 2 * SECOND, now + 3 * SECOND));
    assert!(keys.next_try().is_some());
}

#[test]
fn what_is_on_its_way_is_no_failure_however_many_keys_wait_for_it_and_however_long() {
    let (mut keys, now) = keys();
    for _ in 0..20 {
        for name in ["a", "b", "c"] {
            keys.on_its_way(key(name), now);
        }
    }
    assert!(!keys.stream_fails());
    assert_eq!(keys.trouble(now + LATER), None);
    assert!(keys.next_try().unwrap() - now <= Timing::default().longest_retry);
    keys.failed(key("a"), now, now);
    let pause = keys.next_try().unwrap() - now;
    assert!(pause <= 2 * Timing::default().first_retry, "its first");
}
