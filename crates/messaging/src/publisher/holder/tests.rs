//! What the loop does next, in each state that it may be in. Its servers are not there: nothing of this asks them.

use std::time::Duration;

use bson::oid::ObjectId;
use tokio::sync::mpsc;

use super::*;
use crate::{Timing, lease::tests::lease, publisher::broker::tests::publisher};

const SECOND: Duration = Duration::from_secs(1);

pub(super) struct House {
    publisher: Arc<Publisher>,
    lease: Lease,
    pub(super) bell: Bell,
}

impl House {
    pub(super) async fn new() -> Self {
        Self {
            publisher: publisher().await,
            lease: lease(Instant::now() + 3600 * SECOND, None).await,
            bell: Bell::default(),
        }
    }

    pub(super) fn holder(&self) -> Holder<'_> {
        Holder::new(&self.publisher, &self.lease, &self.bell, GaveUp::default())
    }
}

fn timing() -> Timing {
    Timing::default()
}

fn task() -> Option<JoinHandle<()>> {
    Some(tokio::spawn(pending()))
}

pub(super) fn backlog() -> Option<Sweep> {
    let (_, turns) = mpsc::channel(1);
    Some(Sweep::Backlog {
        turns,
        walk: tokio::spawn(pending()),
        size: 0,
    })
}

fn publish_too_many(holder: &mut Holder<'_>, now: Instant) {
    let ids = vec![ObjectId::new(); 10_000];
    holder.marks.add((Stored::from("a"), ids), false, now);
}

#[tokio::test]
async fn a_sweep_begins_after_a_pause_and_only_where_nothing_is_in_its_way() {
    let house = House::new().await;
    let mut holder = house.holder();
    let (now, timing) = (Instant::now(), timing());
    holder.swept_at = now;
    assert_eq!(holder.next_sweep(), Some(now + timing.sweep_pause));
    for (keys, pause) in [
        (8, timing.sweep_pause + Duration::from_millis(4)),
        (1_000, timing.longest_sweep_pause),
    ] {
        for number in 0..keys {
            let key = Stored::from(&*number.to_string());
            holder.keys.begin(key, vec![], false);
        }
        assert_eq!(holder.next_sweep(), Some(now + pause));
    }
    holder.is_wanted = false;
    assert_eq!(holder.next_sweep(), Some(now + timing.safety_interval));
    holder.not_before = now + 3600 * SECOND;
    assert_eq!(holder.next_sweep(), Some(holder.not_before));
    let in_the_way: [fn(&mut Holder<'_>, Instant); 6] = [
        |holder, _| holder.sweep = backlog(),
        |holder, _| holder.reconnects = task(),
        |holder, _| holder.prepares = task(),
        |holder, now| holder.stage = Stage::Ending(now),
        |holder, now| holder.broker.is_cut_off(now),
        publish_too_many,
    ];
    for (number, begins) in in_the_way.into_iter().enumerate() {
        let mut holder = house.holder();
        begins(&mut holder, now);
        assert_eq!(holder.next_sweep(), None, "{number}");
    }
}

#[tokio::test]
async fn what_a_sweep_reads_is_taken_where_there_is_room() {
    let house = House::new().await;
    let mut holder = house.holder();
    assert!(!holder.may_read());
    holder.sweep = Some(Sweep::Parked(tokio::spawn(pending())));
    holder.in_flight = 512;
    assert!(holder.may_read(), "it is no turn");
    holder.sweep = backlog();
    assert!(!holder.may_read());
    holder.in_flight = 511;
    assert!(holder.may_read());
    publish_too_many(&mut holder, Instant::now());
    assert!(!holder.may_read());
}

#[tokio::test]
async fn a_sweep_that_is_due_begins_and_one_in_which_nothing_was_read_for_long_is_given_up() {
    let house = House::new().await;
    let mut holder = house.holder();
    let now = Instant::now();
    holder.swept_at = now;
    holder.read_at = now;
    holder.begin_or_give_up_sweep(now);
    assert!(holder.sweep.is_none(), "the pause is not over");
    holder.begin_or_give_up_sweep(now + timing().sweep_pause);
    assert!(matches!(holder.sweep, Some(Sweep::Parked(_))));
    assert!(!holder.is_wanted);
    let began = now + timing().sweep_pause;
    let stalled = began + timing().sweep_stalled_after;
    holder.begin_or_give_up_sweep(stalled - SECOND);
    assert!(holder.sweep.is_some() && holder.prepares.is_none());
    holder.begin_or_give_up_sweep(stalled);
    assert!(holder.sweep.is_none() && holder.is_wanted);
    assert!(holder.prepares.is_some());
    assert!(holder.not_before >= holder.read_at + timing().first_retry);
}

#[tokio::test]
async fn what_is_parked_is_read_where_it_may_have_changed_or_is_old() {
    let house = House::new().await;
    let mut holder = house.holder();
    let now = Instant::now();
    let reads_parked = |holder: &mut Holder<'_>, now: Instant| {
        holder.sweep = None;
        holder.is_wanted = true;
        holder.begin_or_give_up_sweep(now);
        matches!(holder.sweep, Some(Sweep::Parked(_)))
    };
    holder.swept_at = now - SECOND;
    assert!(reads_parked(&mut holder, now), "nothing is known");
    assert!(!reads_parked(&mut holder, now + SECOND));
    house.bell.doubt_parked();
    assert!(reads_parked(&mut holder, now + 2 * SECOND));
    let old = now + 2 * SECOND + timing().safety_interval;
    assert!(!reads_parked(&mut holder, old - SECOND));
    assert!(reads_parked(&mut holder, old));
}

#[tokio::test]
async fn the_loop_sleeps_until_what_comes_next() {
    let house = House::new().await;
    let mut holder = house.holder();
    let now = Instant::now();
    holder.swept_at = now;
    holder.is_wanted = false;
    assert_eq!(holder.next_due(now), now + timing().safety_interval);
    holder.keys.failed(Stored::from("a"), now, now);
    assert_eq!(Some(holder.next_due(now)), holder.keys.next_try());
    holder.keys.forget(&Stored::from("a"));
    holder.sweep = backlog();
    holder.read_at = now;
    assert_eq!(holder.next_due(now), now + timing().sweep_stalled_after);
    holder
        .marks
        .add((Stored::from("a"), Vec::new()), false, now);
    assert_eq!(holder.next_due(now), now + timing().mark_delay * 10);
    holder.sweep = None;
    assert_eq!(holder.next_due(now), now + timing().mark_delay);

    let mut holder = house.holder();
    holder.broker.is_cut_off(now);
    let idle = now + timing().safety_interval;
    assert_eq!(holder.next_due(now), idle, "nothing comes by itself");
    holder.stage = Stage::Last(now + SECOND);
    assert_eq!(holder.next_due(now), now + SECOND);
    holder.stage = Stage::Ending(now + SECOND);
    assert_eq!(holder.next_due(now), now + SECOND);
    let marked = now + SECOND + timing().mark_limit;
    assert_eq!(holder.next_due(now + SECOND), marked);
}

#[tokio::test]
async fn there_is_nothing_to_do_where_nothing_is_under_way_or_wanted() {
    let house = House::new().await;
    let now = Instant::now();
    let resting = || {
        let mut holder = house.holder();
        holder.is_wanted = false;
        holder
    };
    assert!(resting().has_nothing_to_do());
    let left: [fn(&mut Holder<'_>, Instant); 4] = [
        |holder, _| holder.sweep = backlog(),
        |holder, _| holder.is_wanted = true,
        |holder, _| holder.in_flight = 1,
        publish_too_many,
    ];
    for (number, leave) in left.into_iter().enumerate() {
        let mut holder = resting();
        leave(&mut holder, now);
        assert!(!holder.has_nothing_to_do(), "{number}");
    }
}

#[tokio::test]
async fn it_is_done_when_all_is_written_or_the_limit_of_a_mark_is_over() {
    let house = House::new().await;
    let now = Instant::now();
    let limit = now + timing().mark_limit;
    let mut holder = house.holder();
    assert!(!holder.is_done(now), "it has not ended");
    holder.stage = Stage::Ending(now);
    assert!(holder.is_done(now));
    holder.in_flight = 1;
    assert!(!holder.is_done(limit), "a publication is in flight");
    holder.in_flight = 0;
    let parking = pending::<Written>().boxed();
    holder.writes.push(parking);
    assert!(!holder.is_done(limit - SECOND));
    assert!(holder.is_done(limit));
    let mut holder = house.holder();
    holder.stage = Stage::Ending(now);
    publish_too_many(&mut holder, now);
    assert!(!holder.is_done(limit - SECOND));
    assert!(holder.is_done(limit));
}

#[tokio::test]
async fn it_ends_when_the_lease_has_run_out_or_nothing_is_left_of_a_stop() {
    let now = Instant::now();
    let mut house = House::new().await;
    let ends = |holder: &mut Holder<'_>, now: Instant| {
        holder.do_what_is_due(now);
        matches!(holder.stage, Stage::Ending(until) if until >= now)
    };
    let mut holder = house.holder();
    assert!(!ends(&mut holder, now));
    holder.stop();
    holder.not_before = now + 3600 * SECOND;
    let Stage::Last(until) = holder.stage else {
        panic!("a stop looks once more");
    };
    assert!(until >= now + timing().last_sweep);
    assert!(until <= Instant::now() + timing().last_sweep);
    assert!(!ends(&mut holder, until - timing().last_sweep));
    assert!(ends(&mut holder, until));
    let given = holder.stage;
    holder.do_what_is_due(until + SECOND);
    assert!(holder.stage == given, "it ends once");

    let mut holder = house.holder();
    holder.stop();
    holder.is_wanted = false;
    holder.swept_at = now;
    assert!(ends(&mut holder, now), "nothing is left");

    let mut holder = house.holder();
    holder.stop();
    holder.broker.is_cut_off(now);
    assert!(ends(&mut holder, now), "nothing can be published");

    house.lease = lease(now + SECOND, None).await;
    let mut holder = house.holder();
    assert!(!ends(&mut holder, now));
    assert!(ends(&mut holder, now + SECOND));
    let given = holder.stage;
    holder.do_what_is_due(now + 2 * SECOND);
    assert!(holder.stage == given, "it ends once");
}

#[tokio::test]
async fn a_key_whose_delay_is_over_is_a_reason_to_look_again() {
    let house = House::new().await;
    let mut holder = house.holder();
    let now = Instant::now();
    holder.is_wanted = false;
    holder.swept_at = now;
    holder.keys.failed(Stored::from("a"), now, now);
    let over = holder.keys.next_try().unwrap();
    holder.do_what_is_due(now);
    assert!(!holder.is_wanted);
    holder.not_before = now + 3600 * SECOND;
    holder.do_what_is_due(over);
    assert!(holder.is_wanted);
}
