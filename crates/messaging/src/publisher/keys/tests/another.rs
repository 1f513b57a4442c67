//! Whether another instance should publish.

use super::*;

fn trouble(since: Instant, why: &'static str) -> Trouble {
    Trouble { since, why }
}

#[test]
fn another_instance_should_try_where_three_fail_for_ten_seconds_or_one_for_a_minute() {
    let (mut keys, now) = keys();
    fail(&mut keys, &["a", "b"], now);
    assert_eq!(keys.trouble(now + 59 * SECOND), None);
    assert_eq!(
        keys.trouble(now + 60 * SECOND),
        Some(trouble(now, "a key fails"))
    );
    fail(&mut keys, &["c"], now + 3 * SECOND);
    assert_eq!(keys.trouble(now + 9 * SECOND), None);
    let several = Some(trouble(now, "several keys fail and none succeeds"));
    assert_eq!(keys.trouble(now + 10 * SECOND), several);
    keys.succeeded(&key("d"), now);
    assert_eq!(keys.trouble(now + 11 * SECOND), None);
}

#[test]
fn who_fails_at_the_same_keys_as_the_holder_before_keeps_the_lease() {
    let (mut first, now) = keys();
    fail(&mut first, &["a", "b", "c"], now);
    assert_eq!(first.gave_up(false), GaveUp::default());
    let gave_up = first.gave_up(true);
    let later = now + LATER;
    let mut second = Keys::new(Timing::default(), gave_up);
    fail(&mut second, &["a", "b", "c"], now);
    assert_eq!(second.trouble(later), None);
    fail(&mut second, &["d"], now);
    assert_eq!(second.trouble(later), Some(trouble(now, "a key fails")));
    second.succeeded(&key("d"), now);
    second.forget(&key("a"));
    second.succeeded(&key("a"), now);
    fail(&mut second, &["a"], now);
    let reason = second.trouble(later);
    assert_eq!(
        reason,
        Some(trouble(now, "a key fails")),
        "this one can publish it"
    );
}

/// The next holder that fails at it has not met it before.
#[test]
fn what_the_holder_before_failed_at_is_forgotten_as_soon_as_it_is_published() {
    let (mut first, now) = keys();
    fail(&mut first, &["a"], now);
    let mut second = Keys::new(Timing::default(), first.gave_up(true));
    second.succeeded(&key("a"), now);
    assert_eq!(second.gave_up(true), GaveUp::default());
}

#[test]
fn where_too_many_failed_to_be_named_all_count_until_nothing_fails() {
    let (mut first, now) = keys();
    for number in 0..101 {
        first.failed(key(&number.to_string()), now, now);
    }
    let mut second = Keys::new(Timing::default(), first.gave_up(true));
    second.begin_sweep();
    fail(&mut second, &["x", "y", "z"], now);
    second.succeeded(&key("good"), now);
    second.end_sweep();
    assert_eq!(second.trouble(now + LATER), None);
    for name in ["x", "y", "z"] {
        second.succeeded(&key(name), now);
    }
    second.end_sweep();
    fail(&mut second, &["x"], now);
    assert!(second.trouble(now + LATER).is_some());
}
