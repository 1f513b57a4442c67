use bson::{DateTime, RawDocumentBuf, oid::ObjectId};

use super::*;
use crate::jetstream::tests::jetstream;

fn event(key: &str, version: i64) -> Event {
    let (id, now, key) = (ObjectId::new(), DateTime::now(), key.to_owned());
    let data = RawDocumentBuf::new();
    Event::new((id, now), "order.updated", key, version, data, None)
}

fn before(sequence: u64, reached: i64) -> Before {
    let reached = Some(reached);
    Before { sequence, reached }
}

#[test]
fn what_follows_a_version_that_was_published_here_is_not_asked_for() {
    let published = Published::default();
    assert_eq!(
        published.before(&event("a", 0), "s"),
        Some(Before::default())
    );
    assert_eq!(published.before(&event("a", 1), "s"), None, "nobody knows");
    published.remember(&event("a", 3), "s".to_owned(), before(5, 2), 7);
    assert_eq!(published.before(&event("a", 4), "s"), Some(before(7, 3)));
    assert_eq!(
        published.before(&event("a", 4), "other"),
        Some(before(0, 3))
    );
    for version in [0, 3, 5] {
        assert_eq!(
            published.before(&event("a", version), "s"),
            None,
            "{version}"
        );
    }
    let lost = Event {
        replay: true,
        ..event("a", 4)
    };
    assert_eq!(published.before(&lost, "s"), None);
}

#[test]
fn a_version_that_is_published_again_does_not_hide_what_was_reached() {
    let published = Published::default();
    published.remember(&event("a", 1), "s".to_owned(), before(5, 4), 9);
    assert_eq!(published.before(&event("a", 5), "s"), Some(before(9, 4)));
}

#[test]
fn so_many_keys_are_remembered_and_no_more() {
    let published = Published::default();
    for key in 0..MOST_KEYS {
        published.remember(
            &event(&key.to_string(), 1),
            String::new(),
            Before::default(),
            1,
        );
    }
    assert!(published.before(&event("0", 2), "").is_some());
    published.remember(&event("one more", 1), String::new(), Before::default(), 1);
    assert!(published.before(&event("0", 2), "").is_none());
    assert!(published.before(&event("one more", 2), "").is_some());
}

#[tokio::test]
async fn a_subject_is_below_the_streams_root_and_no_longer_than_a_line_of_the_protocol() {
    let jetstream = jetstream("test").await;
    let of = |subject: String| Event {
        subject,
        ..event("a", 0)
    };
    let root = "order.created.";
    let [longest, too_long] = [4_000, 4_001].map(|length: usize| {
        let key = length - "test.".len() - root.len();
        of(format!("{root}{}", "x".repeat(key)))
    });
    assert!(jetstream.is_possible(&longest));
    assert_eq!(jetstream.subject(&longest).unwrap().len(), 4_000);
    assert!(!jetstream.is_possible(&too_long));
    let other = jetstream.subject(&of("invoice.created.a".to_owned()));
    assert!(matches!(other, Err(Failure::Never(reason)) if reason.contains("not one of")));
}
