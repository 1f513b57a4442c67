use bson::{RawDocumentBuf, rawdoc};

use super::*;
use crate::{Metadata, jetstream::tests::jetstream};

fn event(key: &str, version: i64) -> Event {
    let (key, data) = (key.to_owned(), RawDocumentBuf::new());
    Event::new(Metadata::now(), "order.updated", key, version, data)
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
    published.remember(&event("a", 3), "s", before(5, 2), 7);
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
    published.remember(&event("a", 1), "s", before(5, 4), 9);
    assert_eq!(published.before(&event("a", 5), "s"), Some(before(9, 4)));
}

#[test]
fn so_many_keys_are_remembered_and_no_more() {
    let published = Published::default();
    for key in 0..MOST_KEYS {
        published.remember(&event(&key.to_string(), 1), "", Before::default(), 1);
    }
    assert!(published.before(&event("0", 2), "").is_some());
    published.remember(&event("one more", 1), "", Before::default(), 1);
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

#[test]
fn a_payload_is_the_data_as_json_which_does_not_have_every_number() {
    let of = |data: RawDocumentBuf| Event {
        data,
        ..event("a", 0)
    };
    let fine = of(rawdoc! { "n": 1.5, "inner": { "list": [1, "x"] } });
    let expected = r#"{"n":1.5,"inner":{"list":[1,"x"]}}"#;
    assert_eq!(payload(&fine).unwrap(), expected);
    for (data, member) in [
        (rawdoc! { "n": f64::NAN }, "n"),
        (rawdoc! { "inner": { "deep": f64::INFINITY } }, "deep"),
        (rawdoc! { "list": [1, { "deep": f64::NAN }] }, "deep"),
    ] {
        let refused = payload(&of(data));
        let told = format!("{member} of its data is a number that JSON does not have");
        assert!(matches!(refused, Err(Failure::Never(reason)) if reason == told));
    }
}

#[test]
fn the_headers_are_those_of_a_cloud_event_and_have_no_type_of_content_where_there_is_none() {
    let event = Event {
        traceparent: Some("00-1-2-01".to_owned()),
        ..event("a \"é%", 7)
    };
    let headers = headers(&event, "shop");
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &*event.id.to_hex()),
        ("ce-source", "/shop"),
        ("ce-type", "order.updated"),
        ("ce-subject", "a%20%22%C3%A9%25"),
        ("ce-keyversion", "7"),
        ("content-type", "application/json"),
        ("traceparent", "00-1-2-01"),
    ] {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    let skipped = Event::skipped(event.id, "order.skipped", "a".to_owned(), 7);
    assert_eq!(super::headers(&skipped, "shop").get("content-type"), None);
}
