//! Each header of a message against its event.

use super::*;

#[test]
fn a_message_without_one_of_its_headers_with_another_value_or_with_one_more_is_altered() {
    let names: Vec<String> = super::super::headers::of(&event(1, "b"))
        .into_keys()
        .collect();
    assert_eq!(names.len(), 11, "{names:?}");
    for name in &names {
        let mut without = good();
        without.messages[1].headers.remove(name);
        assert_eq!(kinds(&without), [Kind::Altered], "{name}");
    }
    for name in names.iter().filter(|name| *name != "Nats-Msg-Id") {
        let mut another = good();
        set(&mut another, name, "another");
        assert!(kinds(&another).contains(&Kind::Altered), "{name}");
    }
    let mut one_more = good();
    set(&mut one_more, "ce-dataschema", "none");
    assert_eq!(kinds(&one_more), [Kind::Altered]);
}

#[test]
fn what_the_server_is_told_beside_is_no_part_of_the_event() {
    let mut expected = good();
    set(&mut expected, "Nats-Expected-Stream", "CHAOS");
    set(&mut expected, "Nats-Expected-Last-Subject-Sequence", "1");
    assert_eq!(kinds(&expected), []);
}

#[test]
fn a_skipped_event_is_told_without_its_payload() {
    let mut skipped = good();
    let event = Event {
        id: "p0".to_owned(),
        key: "p".to_owned(),
        is_skipped: true,
        ..event(0, "planted")
    };
    plant(&mut skipped, event);
    assert_eq!(kinds(&skipped), []);

    let told = Message {
        subject: format!("{}.p", skipped.events[3].type_of_skipped()),
        payload: Value::Null,
        ..message(4, &skipped.events[3])
    };
    skipped.messages.push(told);
    assert_eq!(kinds(&skipped), []);

    skipped.messages[3].payload = data(0, "planted");
    assert_eq!(kinds(&skipped), [Kind::Altered]);
}
