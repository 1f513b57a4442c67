use std::collections::HashSet;

use bson::oid::ObjectId;

use super::*;
use crate::{
    outbox::Unpublishable,
    publisher::{
        backlog::tests::turn_of,
        holder::tests::{House, backlog},
    },
};

fn key() -> Stored {
    Stored::from("a")
}

fn unpublishable() -> Option<Unpublishable> {
    Some(Unpublishable {
        id: ObjectId::new().into(),
        reason: String::new(),
        is_conflict: false,
    })
}

fn size(holder: &Holder<'_>) -> usize {
    match holder.sweep {
        Some(Sweep::Backlog { size, .. }) => size,
        _ => panic!("there is no sweep"),
    }
}

#[tokio::test]
async fn a_turn_that_nothing_holds_back_is_in_flight_and_in_hand() {
    let house = House::new().await;
    let mut holder = house.holder();
    holder.sweep = backlog();
    assert!(holder.has_read(Step::Turn(turn_of(2))).is_some());
    assert_eq!((holder.in_flight, size(&holder)), (1, 2));
    assert!(holder.take_up(turn_of(2)).is_none(), "its key is in hand");
    assert_eq!((holder.in_flight, size(&holder)), (1, 2));
}

#[tokio::test]
async fn a_turn_of_which_nothing_but_the_next_can_be_read_is_one() {
    let house = House::new().await;
    let mut holder = house.holder();
    let mut turn = turn_of(0);
    turn.unreadable = unpublishable();
    assert!(holder.take_up(turn).is_some());
}

#[tokio::test]
async fn the_key_of_a_parked_event_is_left_out() {
    let house = House::new().await;
    let mut holder = house.holder();
    holder.parked.add(key(), ObjectId::new().into());
    assert!(holder.take_up(turn_of(1)).is_none());
}

#[tokio::test]
async fn a_mark_that_a_sweep_waits_for_hurries() {
    let house = House::new().await;
    for hurries in [false, true] {
        let mut holder = house.holder();
        let now = Instant::now();
        let turn = turn_of(1);
        let ids: Vec<_> = turn.events.iter().map(|event| event.id).collect();
        holder.keys.begin(key(), ids.clone(), false);
        holder.marks.add((key(), ids), false, now);
        let mut again = turn;
        again.unreadable = unpublishable().filter(|_| hurries);
        assert!(holder.take_up(again).is_none());
        assert_eq!(holder.marks.due(false) <= Some(now), hurries);
    }
}

#[tokio::test]
async fn what_this_instance_has_just_marked_is_no_turn_and_what_is_behind_it_is_looked_for() {
    let house = House::new().await;
    for has_more in [false, true] {
        let mut holder = house.holder();
        let mut turn = turn_of(1);
        let ids: Vec<_> = turn.events.iter().map(|event| event.id).collect();
        holder.keys.begin(key(), ids.clone(), false);
        holder.keys.begin_sweep();
        holder.keys.finish_mark(&key(), &ids);
        holder.is_wanted = false;
        turn.has_more = has_more;
        assert!(holder.take_up(turn).is_none());
        assert_eq!(holder.is_wanted, has_more);
        assert_eq!(holder.in_flight, 0);
    }
}

#[tokio::test]
async fn what_an_operator_gives_another_try_waits_for_a_new_connection_once() {
    let house = House::new().await;
    let mut holder = house.holder();
    let id = ObjectId::new();
    let parked = || Parked {
        retried: HashSet::from([id]),
        ..Parked::default()
    };
    holder.sweep = backlog();
    holder.is_wanted = false;
    assert!(holder.has_read(Step::Parked(parked())).is_none());
    assert!(holder.reconnects.is_some() && holder.sweep.is_none());
    assert!(holder.is_wanted);
    holder.reconnects = None;
    assert!(holder.has_read(Step::Parked(parked())).is_none());
    assert!(holder.reconnects.is_none());
    assert!(matches!(holder.sweep, Some(Sweep::Backlog { .. })));
}

#[tokio::test]
async fn what_was_parked_while_that_was_read_is_known() {
    let house = House::new().await;
    let mut holder = house.holder();
    holder
        .parked_meanwhile
        .push((key(), ObjectId::new().into()));
    holder.know_parked(Parked::default());
    assert!(holder.parked.keys.contains(&key()));
}

#[tokio::test]
async fn a_sweep_that_is_dropped_is_begun_again_with_what_is_parked_where_that_was_not_read() {
    let house = House::new().await;
    for reads_parked in [false, true] {
        house.bell.take_doubt();
        let mut holder = house.holder();
        holder.is_wanted = false;
        holder.sweep = if reads_parked {
            Some(Sweep::Parked(tokio::spawn(pending())))
        } else {
            backlog()
        };
        holder.drop_sweep();
        assert!(holder.is_wanted);
        assert_eq!(house.bell.take_doubt(), reads_parked);
    }
}

#[tokio::test]
async fn a_sweep_that_failed_is_begun_again_with_the_collections_and_all_that_is_parked() {
    let house = House::new().await;
    house.bell.take_doubt();
    let mut holder = house.holder();
    holder.sweep = backlog();
    holder.is_wanted = false;
    let began = Instant::now();
    holder.has_read(Step::Failed(anyhow::anyhow!("no server")));
    assert!(holder.sweep.is_none() && holder.is_wanted);
    assert!(holder.prepares.is_some());
    assert!(house.bell.take_doubt());
    assert!(holder.not_before >= began + holder.publisher.timing.first_retry);
}

#[tokio::test]
async fn at_the_end_of_a_sweep_there_is_none() {
    let house = House::new().await;
    let mut holder = house.holder();
    holder.sweep = backlog();
    assert!(holder.has_read(Step::End).is_none());
    assert!(holder.sweep.is_none());
}
