use bson::{RawDocumentBuf, rawdoc};

use super::*;
use crate::{Metadata, stored::LONGEST_SHOWN};

fn event(number: i64) -> Event {
    let key = "k".repeat(1_000);
    Event::new(
        Metadata::now(),
        "order.created",
        key,
        number,
        RawDocumentBuf::new(),
    )
}

fn states(recent: &Recent) -> Vec<(i64, Sent)> {
    let events = recent.look().0.into_iter();
    events.map(|event| (event.version, event.sent)).collect()
}

#[tokio::test]
async fn an_event_turns_from_no_to_yes_when_it_is_marked_and_not_when_it_is_acknowledged() {
    let recent = Recent::default();
    let (first, second) = (event(0), event(1));
    for event in [&first, &second, &first] {
        recent.begins(event);
    }
    recent.acknowledged(Some(0.25));
    recent.acknowledged(Some(0.125));
    assert_eq!(states(&recent), [(1, Sent::No), (0, Sent::No)]);
    recent.marked(&[first.id]);
    assert_eq!(states(&recent), [(1, Sent::No), (0, Sent::Yes)]);
    let made_ms = second.created_at.timestamp_millis();
    assert_eq!(recent.oldest_unsent_ms(0), Some(made_ms));
    assert_eq!(recent.oldest_unsent_ms(made_ms + 1), None);
    recent.parked(second.id);
    assert!(recent.look().0[0].is_parked);
    assert_eq!(recent.oldest_unsent_ms(0), None);
    let (tally, again) = (recent.tally(), recent.tally());
    assert_eq!((tally.published, tally.slowest), (2, Some(0.25)));
    assert_eq!((again.published, again.slowest), (2, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_however_much_goes_on_and_shows_both_states() {
    let recent = Recent::default();
    for round in 0..1_000 {
        let events: Vec<_> = (0..20).map(|n| event(round * 20 + n)).collect();
        events.iter().for_each(|event| recent.begins(event));
        let ids: Vec<_> = events[..10].iter().map(|event| event.id).collect();
        recent.marked(&ids);
        recent.applied("orders", ("order.created", "key", round), None);
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    recent.begins(&event(20_000));
    let (events, messages) = recent.look();
    assert_eq!((events.len(), messages.len()), (MOST_RECENT, MOST_RECENT));
    assert!(events.iter().all(|event| event.key.len() == LONGEST_SHOWN));
    let sent = events.iter().filter(|event| event.sent == Sent::Yes);
    assert!((1..MOST_RECENT).contains(&sent.count()));
    let state = recent.state();
    assert!(state.unsent.len() <= MOST_RECENT && state.sent.len() <= MOST_RECENT);
    assert_eq!((messages[0].version, state.tally.applied), (999, 1_000));
}

#[tokio::test(start_paused = true)]
async fn what_waits_makes_room_for_what_comes_later() {
    let recent = Recent::default();
    for version in 0..200_i64 {
        let id = ObjectId::new();
        recent
            .waits(&rawdoc! { "_id": id, "type": "order.created", "key": "a", "version": version });
        tokio::time::advance(FRESH / 10).await;
    }
    let events = recent.look().0;
    assert_eq!((events.len(), events[0].version), (MOST_RECENT, 199));
}
