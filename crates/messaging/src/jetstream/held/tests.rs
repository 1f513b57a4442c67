use bson::RawDocumentBuf;

use super::*;
use crate::{Metadata, jetstream::tests::jetstream};

#[test]
fn a_version_above_the_next_one_tells_which_is_missing() {
    assert_eq!(missing_below(0, None, false), None);
    assert_eq!(missing_below(2, None, false), Some(0));
    assert_eq!(missing_below(2, None, true), None);
    for forgets in [false, true] {
        assert_eq!(missing_below(3, Some(3), forgets), None);
        assert_eq!(missing_below(4, Some(3), forgets), None);
        assert_eq!(missing_below(5, Some(3), forgets), Some(4));
    }
}

#[tokio::test]
async fn the_versions_of_a_key_are_looked_for_under_all_types_of_its_noun() {
    let jetstream = jetstream("test").await;
    for (r#type, key, subject, of_key) in [
        ("order.created", "1", "order.created.1", "test.order.*.1"),
        (
            "order.created",
            "1",
            "order.by_hand.1",
            "test.order.by_hand.1",
        ),
        ("order.a.b", "1", "order.a.b.1", "test.order.a.b.1"),
        (
            "order.created",
            "a.b",
            "order.created.a.b",
            "test.order.created.a.b",
        ),
        ("order", "1", "order.1", "test.order.1"),
    ] {
        let (metadata, data) = (Metadata::now(), RawDocumentBuf::new());
        let event = Event {
            subject: subject.to_owned(),
            ..Event::new(metadata, r#type, key.to_owned(), 0, data)
        };
        let published_as = format!("test.{subject}");
        assert_eq!(jetstream.of_key(&event, &published_as), of_key);
    }
}

#[test]
fn no_message_of_a_key_is_told_from_no_answer() {
    let kind = LastRawMessageErrorKind::NoMessageFound;
    assert!(matches!(
        told(Err(LastRawMessageError::new(kind))),
        Ok(None)
    ));
    let unknown = LastRawMessageError::new(LastRawMessageErrorKind::Other);
    assert!(matches!(
        told(Err(unknown)),
        Err(Failure::Passing(Whose::Unclear, _))
    ));
    let unreadable = LastRawMessageError::with_source(
        LastRawMessageErrorKind::Other,
        std::io::Error::other("header"),
    );
    assert!(matches!(
        told(Err(unreadable)),
        Err(Failure::Passing(Whose::Keys, _))
    ));
}
