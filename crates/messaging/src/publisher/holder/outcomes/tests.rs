use std::time::Duration;

use bson::oid::ObjectId;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::publisher::{
    holder::tests::{House, backlog},
    keys::Look,
};

const SECOND: Duration = Duration::from_secs(1);

fn key() -> Stored {
    Stored::from("a")
}

fn error() -> anyhow::Error {
    anyhow::anyhow!("refused")
}

/// A key's turn, in flight.
fn begin(holder: &mut Holder<'_>, has_more: bool) -> ObjectId {
    let id = ObjectId::new();
    holder.keys.begin(key(), vec![id], has_more);
    holder.in_flight += 1;
    holder.is_wanted = false;
    id
}

fn ends(holder: &mut Holder<'_>, acked: Vec<ObjectId>, then: Then) {
    let key = key();
    holder.turn_ended(Ended { key, acked, then });
}

fn waits(holder: &mut Holder<'_>) -> bool {
    let begins = holder.keys.look_at(&key(), &[], false) == Look::Begin;
    !begins && holder.keys.next_try().is_some()
}

#[tokio::test]
async fn what_is_acknowledged_is_in_hand_until_it_is_marked_and_a_sweep_comes_back_for_more() {
    let house = House::new().await;
    for has_more in [false, true] {
        let mut holder = house.holder();
        let id = begin(&mut holder, has_more);
        ends(&mut holder, vec![id], Then::Nothing);
        assert_eq!(holder.in_flight, 0);
        assert!(!holder.is_wanted && !holder.marks.are_none());
        let look = holder.keys.look_at(&key(), &[id], false);
        assert_eq!(
            look,
            Look::LeaveOut {
                comes_back: has_more
            }
        );
        assert_eq!(holder.marks.due(false) <= Some(Instant::now()), has_more);
        let batch = holder.marks.next(Instant::now() + SECOND, false).unwrap();
        holder.written(Written::Marks(batch, Ok(())));
        assert_eq!(holder.is_wanted, has_more);
        assert!(holder.marks.are_none());
    }
}

#[tokio::test]
async fn a_turn_that_ends_without_an_acknowledgement_is_finished() {
    let house = House::new().await;
    for has_more in [false, true] {
        let mut holder = house.holder();
        begin(&mut holder, has_more);
        ends(&mut holder, Vec::new(), Then::LeaseEnded);
        assert!(holder.marks.are_none());
        assert_eq!(holder.keys.look_at(&key(), &[], false), Look::Begin);
        assert_eq!(holder.is_wanted, has_more);
    }
}

#[tokio::test]
async fn what_was_cut_off_is_read_again() {
    let house = House::new().await;
    let mut holder = house.holder();
    begin(&mut holder, false);
    ends(&mut holder, Vec::new(), Then::ConnectionLost);
    assert!(holder.is_wanted && !waits(&mut holder));
}

#[tokio::test]
async fn the_success_of_a_failing_key_is_a_reason_to_look_again_where_it_was_the_streams_failure() {
    let house = House::new().await;
    let mut holder = house.holder();
    let began = Instant::now();
    for key in ["a", "b", "c"] {
        holder.keys.failed(Stored::from(key), began, began);
    }
    let id = begin(&mut holder, false);
    ends(&mut holder, vec![id], Then::Nothing);
    assert!(holder.is_wanted);
}

#[tokio::test]
async fn a_key_that_failed_waits_unless_its_failure_is_an_old_one() {
    let house = House::new().await;
    for is_old in [false, true] {
        let mut holder = house.holder();
        let began = Instant::now();
        if is_old {
            holder.keys.end_delays(began + SECOND);
        }
        begin(&mut holder, false);
        ends(
            &mut holder,
            Vec::new(),
            Then::Failed(Whose::Keys, error(), began),
        );
        assert_eq!(waits(&mut holder), !is_old);
        assert_eq!(holder.is_wanted, is_old);
    }
}

#[tokio::test]
async fn a_key_whose_message_the_stream_is_still_storing_waits_and_has_not_failed() {
    let house = House::new().await;
    let mut holder = house.holder();
    begin(&mut holder, false);
    let on_its_way = Then::Failed(Whose::OnItsWay, error(), Instant::now());
    ends(&mut holder, Vec::new(), on_its_way);
    assert_eq!(holder.in_flight, 0);
    assert!(waits(&mut holder) && !holder.is_wanted);
    let much_later = Instant::now() + 3600 * SECOND;
    assert_eq!(holder.keys.trouble(much_later), None);
}

#[tokio::test]
async fn of_a_failure_that_may_be_the_brokers_the_stream_is_asked_and_its_answer_decides() {
    let narrow = StreamState::Narrow("it takes little".to_owned());
    let unfit = StreamState::Unfit("it is another".to_owned());
    let answers = [
        (false, Ok(StreamState::There), true),
        (false, Ok(narrow), true),
        (false, Ok(unfit), false),
        (false, Ok(StreamState::Made), false),
        (false, Err(error()), false),
        (true, Ok(StreamState::There), false),
    ];
    for (number, (was_away, answer, is_the_keys)) in answers.into_iter().enumerate() {
        let house = House::new().await;
        let mut holder = house.holder();
        holder.sweep = backlog();
        let is_no_answer = matches!(answer, Err(_) | Ok(StreamState::Unfit(_)));
        begin(&mut holder, false);
        let failed = Then::Failed(Whose::Unclear, error(), Instant::now());
        ends(&mut holder, Vec::new(), failed);
        let in_hand = Look::LeaveOut { comes_back: false };
        assert_eq!(holder.keys.look_at(&key(), &[], false), in_hand);
        if was_away {
            holder.broker.is_cut_off(Instant::now());
        }
        holder.answered(answer);
        assert_eq!(waits(&mut holder), is_the_keys, "{number}");
        assert_eq!(holder.is_wanted, !is_the_keys, "{number}");
        assert_eq!(holder.sweep.is_none(), is_no_answer, "{number}");
    }
}

#[tokio::test]
async fn when_the_broker_answers_again_or_the_stream_is_new_no_key_waits() {
    for (was_away, answer) in [
        (true, StreamState::There),
        (false, StreamState::Made),
        (false, StreamState::There),
    ] {
        let house = House::new().await;
        let mut holder = house.holder();
        let now = Instant::now();
        holder.keys.failed(key(), now, now);
        if was_away {
            holder.broker.is_cut_off(now);
        }
        holder.is_wanted = false;
        let ends_delays = was_away || answer == StreamState::Made;
        holder.answered(Ok(answer));
        assert_eq!(holder.keys.next_try().is_none(), ends_delays);
        assert_eq!(holder.is_wanted, ends_delays);
    }
}

#[tokio::test]
async fn with_the_broker_away_a_failure_is_the_brokers() {
    let house = House::new().await;
    let mut holder = house.holder();
    holder.broker.is_cut_off(Instant::now());
    begin(&mut holder, false);
    let failed = Then::Failed(Whose::Unclear, error(), Instant::now());
    ends(&mut holder, Vec::new(), failed);
    assert!(holder.undecided.is_empty());
    assert!(holder.is_wanted && !waits(&mut holder));
}

#[tokio::test]
async fn a_lost_connection_cuts_off_what_was_sent_over_it() {
    let house = House::new().await;
    let mut holder = house.holder();
    holder.sweep = backlog();
    let cut: CancellationToken = holder.cut.clone();
    holder.connection_changed(true);
    assert!(!cut.is_cancelled() && !holder.broker.is_away());
    holder.connection_changed(false);
    assert!(cut.is_cancelled() && holder.broker.is_away());
    assert!(holder.sweep.is_none() && !holder.cut.is_cancelled());
}

#[tokio::test]
async fn the_key_of_an_event_that_is_parked_is_held_back_and_fails_no_more() {
    let house = House::new().await;
    let mut holder = house.holder();
    let (id, now) = (Stored::from(ObjectId::new()), Instant::now());
    holder.keys.failed(key(), now, now);
    begin(&mut holder, true);
    holder.written(Written::Parked((key(), id), Ok(())));
    assert!(holder.parked.keys.contains(&key()));
    assert_eq!(holder.parked_meanwhile.len(), 1);
    assert_eq!(holder.keys.next_try(), None);
    assert!(holder.is_wanted, "perhaps it is retried already");
}
