//! What the stream holds against what was saved.

use super::*;

#[test]
fn yes_without_a_message_is_premature() {
    let mut premature = good();
    premature.messages.remove(1);
    assert_eq!(kinds(&premature), [Kind::Premature]);

    // It was published again before anybody could look.
    let mut again = good();
    let reached = ("outbox-reached".to_owned(), "2".to_owned());
    again.messages[1].headers.extend([reached]);
    assert!(kinds(&again).contains(&Kind::Premature));
    let stored_ms = again.messages[1].stored_ms;
    again.lost = lost("k", stored_ms, stored_ms + 9_000);
    assert!(!kinds(&again).contains(&Kind::Premature));
    // Another key was lost; or this one, before the event was saved.
    again.lost = lost("l", stored_ms, stored_ms + 9_000);
    assert!(kinds(&again).contains(&Kind::Premature));
    again.attempts.iter_mut().for_each(|it| it.ended_ms = 500);
    again.events.iter_mut().for_each(|it| it.made_at_ms = 500);
    again.messages[1].stored_ms = 600;
    again.lost = lost("k", 0, 499);
    assert!(kinds(&again).contains(&Kind::Premature));
}

#[test]
fn no_is_stuck_unless_it_is_parked_or_held_back() {
    let mut stuck = good();
    stuck.events[1].is_sent = false;
    assert_eq!(kinds(&stuck), [Kind::Stuck]);

    let mut planted = good();
    for version in [0, 1] {
        let event = Event {
            id: format!("p{version}"),
            key: "p".to_owned(),
            is_sent: false,
            is_parked: version == 0,
            ..event(version, "planted")
        };
        plant(&mut planted, event);
    }
    assert_eq!(kinds(&planted), []);

    // Another key is not held back.
    planted.events[4].key = "other".to_owned();
    assert_eq!(kinds(&planted), [Kind::Stuck]);
}

#[test]
fn a_message_id_or_a_version_stored_twice_is_a_duplicate() {
    let mut id_twice = good();
    id_twice.messages.push(message(4, &event(2, "c")));
    assert_eq!(kinds(&id_twice), [Kind::Duplicate]);

    let mut version_twice = good();
    version_twice.events.push(Event {
        id: "e2b".to_owned(),
        ..event(2, "b2")
    });
    version_twice.attempts.push(attempt("b2", Outcome::Unknown));
    version_twice.attempts[4].intent = Intent::Keyless;
    version_twice
        .messages
        .push(message(4, &version_twice.events[3]));
    assert_eq!(kinds(&version_twice), [Kind::Duplicate]);
}

#[test]
fn versions_out_of_their_order_are_reordered() {
    let mut reordered = good();
    reordered.messages.swap(1, 2);
    assert_eq!(kinds(&reordered), [Kind::Reordered]);

    let mut past_a_parked_one = good();
    past_a_parked_one.events[1].is_sent = false;
    past_a_parked_one.events[1].is_parked = true;
    past_a_parked_one.messages.remove(1);
    assert_eq!(
        kinds(&past_a_parked_one),
        [Kind::Reordered, Kind::WronglyParked]
    );
}

#[test]
fn what_differs_from_its_event_is_altered() {
    let mut payload = good();
    payload.messages[1].payload["price"] = json!(1);
    assert_eq!(kinds(&payload), [Kind::Altered]);

    let mut subject = good();
    subject.messages[1].subject = "thing.created.k".to_owned();
    assert_eq!(kinds(&subject), [Kind::Altered]);
}
