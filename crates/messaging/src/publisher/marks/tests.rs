use std::time::Duration;

use super::*;

fn acked(key: &str, events: usize) -> Acked {
    let ids = (0..events).map(|_| ObjectId::new()).collect();
    (Stored::from(key), ids)
}

fn marks() -> (Marks, Instant) {
    (Marks::new(Timing::default()), Instant::now())
}

#[test]
fn events_wait_for_company_unless_there_are_a_thousand_or_a_sweep_waits() {
    let (mut marks, now) = marks();
    marks.add(acked("a", 3), false, now);
    let delay = Timing::default().mark_delay;
    assert_eq!(marks.next(now, false), None);
    assert_eq!(marks.due(false), Some(now + delay));
    assert_eq!(marks.next(now + delay, false).unwrap().len(), 1);
    marks.add(acked("a", 1), false, now);
    marks.hurry();
    assert_eq!(marks.next(now, false).unwrap().len(), 1);
    marks.add(acked("a", 999), false, now);
    assert_eq!(marks.next(now, false), None);
    marks.add(acked("b", 1), false, now);
    assert_eq!(marks.next(now, false).unwrap().len(), 2);
    assert_eq!(marks.next(now + delay, false), None);
}

#[test]
fn while_more_comes_they_wait_ten_times_as_long() {
    let (mut marks, now) = marks();
    marks.add(acked("a", 3), false, now);
    let delay = Timing::default().mark_delay;
    assert_eq!(marks.due(true), Some(now + delay * 10));
    assert_eq!(marks.due(false), Some(now + delay));
}

#[test]
fn a_mark_is_of_a_thousand_events_at_most_and_of_a_whole_key_at_least() {
    let (mut marks, now) = marks();
    for key in ["a", "b", "c"] {
        marks.add(acked(key, 600), false, now);
    }
    assert_eq!(events(&marks.next(now, false).unwrap()), 600);
    assert_eq!(events(&marks.next(now, false).unwrap()), 600);
    assert_eq!(marks.next(now, false), None);
    marks.add(acked("d", 2_000), false, now);
    assert_eq!(marks.next(now, false).unwrap()[0].0, Stored::from("c"));
    assert_eq!(events(&marks.next(now, false).unwrap()), 2_000);
    assert!(!marks.are_none(), "they are being written");
}

#[test]
fn four_marks_are_written_at_once_and_ten_thousand_events_stop_the_publisher() {
    let (mut marks, now) = marks();
    for _ in 0..5 {
        marks.add(acked("a", 1_000), false, now);
    }
    for _ in 0..4 {
        assert!(marks.next(now, false).is_some());
    }
    assert_eq!((marks.next(now, false), marks.due(false)), (None, None));
    assert!(!marks.are_too_many());
    for _ in 0..5 {
        marks.add(acked("a", 1_000), false, now);
    }
    assert!(marks.are_too_many());
    marks.succeeded();
    assert!(marks.next(now, false).is_some());
}

#[test]
fn what_could_not_be_marked_waits_and_is_marked_with_growing_pauses() {
    let (mut marks, mut now) = marks();
    marks.add(acked("a", 1_000), false, now);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let batch = marks.next(now, false).unwrap();
        marks.failed(batch, now);
        let again = marks.due(false).unwrap();
        pauses.push(again - now);
        now = again;
    }
    assert!(pauses[0] >= Duration::from_millis(50));
    assert!(pauses[1] > pauses[0] && pauses[2] > pauses[1], "{pauses:?}");
    assert!(marks.next(now, false).is_some());
    marks.succeeded();
    assert!(marks.are_none());
    marks.add(acked("a", 1_000), false, now);
    let batch = marks.next(now, false).unwrap();
    marks.failed(batch, now);
    assert!(marks.due(false).unwrap() - now <= Duration::from_millis(100));
}

#[test]
fn a_batch_that_is_refused_is_halved_until_the_key_is_found_and_keeps_no_other_waiting() {
    let (mut marks, now) = marks();
    for key in ["a", "b", "bad", "c"] {
        marks.add(acked(key, 300), key == "none", now);
    }
    marks.hurry();
    let refuses = |batch: &[Acked]| batch.iter().any(|(key, _)| *key == Stored::from("bad"));
    let (mut marked, mut found, mut others) = (0, None, 0);
    while let Some(batch) = marks.next(now, false) {
        if refuses(&batch) {
            found = marks.refused(batch).or(found);
            marks.add(acked("other", 1_000), false, now);
            others += 1_000;
        } else {
            marked += events(&batch);
            marks.succeeded();
        }
    }
    assert_eq!(found, Some(Stored::from("bad")));
    assert_eq!(marked, 900 + others);
    assert!(marks.are_none());
    marks.add(acked("bad", 1), true, now);
    marks.add(acked("a", 1), false, now);
    let later = now + Timing::default().mark_delay;
    let batches = [
        marks.next(later, false).unwrap(),
        marks.next(later, false).unwrap(),
    ];
    assert!(batches.iter().all(|batch| batch.len() == 1), "by itself");
}

#[test]
fn what_is_marked_apart_counts_too() {
    let (mut marks, now) = marks();
    for _ in 0..10 {
        marks.add(acked("a", 1_000), true, now);
    }
    assert!(marks.are_too_many());
}
