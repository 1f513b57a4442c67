//! Hand-made runs: one that shows enough, and one for each way to show too little.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    fault::Fault,
    history::{Message, OrderEvent, Orders, Read, Seen},
};

mod kinds;
mod placed;

/// Ten writes a second for twenty seconds, of which one in twenty must be refused, and is; all of NATS is away from 2 to 8 s, and an instance is killed at 12 s.
struct Run {
    aim: Aim,
    observed: Observed,
    faults: Vec<Injected>,
}

impl Run {
    fn good() -> Self {
        let aim = Aim {
            seed: 1,
            seconds: 20,
            rate: 10,
            faults: 2,
            includes_nats: true,
        };
        let faults = vec![
            injected(Fault::KillAllNats, 2_000, 8_000),
            injected(Fault::KillInstance, 12_000, 13_000),
        ];
        let times = (0..200).map(|number| number * 100);
        let mut observed = Observed {
            attempts: times.clone().map(accepted).collect(),
            orders: Orders {
                events: times.clone().step_by(20).map(order).collect(),
                ..Orders::default()
            },
            reads: times.clone().step_by(10).map(read).collect(),
            messages: times.clone().map(message).collect(),
            seen: times.map(seen).collect(),
            ..Observed::default()
        };
        let to_refuse = observed.attempts.iter_mut().skip(7).step_by(20);
        to_refuse.for_each(|attempt| {
            attempt.expected = 401;
            refuse(attempt);
        });
        Self {
            aim,
            observed,
            faults,
        }
    }

    /// What it shows too little of.
    fn broken(&self) -> Vec<&'static str> {
        let floors = floors(&self.aim, &self.observed, &self.faults);
        let broken = floors.iter().filter(|floor| !floor.holds);
        broken.map(|floor| floor.what).collect()
    }

    /// Changes the attempts that begin between `from` and `until`.
    fn change(&mut self, from: u64, until: u64, change: impl Fn(&mut Attempt)) {
        let attempts = self.observed.attempts.iter_mut();
        attempts
            .filter(|attempt| (from..until).contains(&attempt.began_ms))
            .for_each(change);
    }
}

fn injected(fault: Fault, began_ms: u64, ended_ms: u64) -> Injected {
    Injected {
        fault,
        operation: 0,
        away: Vec::new(),
        began_ms,
        ended_ms,
        took_effect_ms: Some(began_ms),
        seen: String::new(),
    }
}

fn accepted(at_ms: u64) -> Attempt {
    Attempt {
        operation: at_ms,
        intent: match at_ms / 100 % 20 {
            0 => Intent::IfMatch,
            1 => Intent::NoChange,
            2 => Intent::Keyless,
            3 => Intent::Twice,
            _ => Intent::Change,
        },
        path: String::new(),
        if_match: None,
        answers: Vec::new(),
        trace: format!("{at_ms:032x}"),
        says: json!({}),
        expected: 201,
        or_refused: &[],
        outcome: Outcome::Accepted {
            key: "k".to_owned(),
            version: 0,
        },
        status: 201,
        tries: 1,
        began_ms: at_ms,
        ended_ms: at_ms + 5,
    }
}

fn message(at_ms: u64) -> Message {
    Message {
        sequence: at_ms,
        subject: String::new(),
        headers: BTreeMap::from([("Nats-Msg-Id".to_owned(), format!("{at_ms}"))]),
        payload: json!({}),
        stored_ms: at_ms,
    }
}

fn seen(at_ms: u64) -> Seen {
    Seen {
        stream: 0,
        sequence: at_ms,
        id: None,
        stored_ms: at_ms,
    }
}

fn order(at_ms: u64) -> OrderEvent {
    OrderEvent {
        trace: format!("{at_ms}"),
        order: format!("{at_ms}"),
        version: 0,
        document: "k".to_owned(),
        began_ms: at_ms,
        is_acked: true,
    }
}

fn read(at_ms: u64) -> Read {
    Read {
        key: "k".to_owned(),
        version: Some(0),
        says: json!({}),
        began_ms: at_ms,
        ended_ms: at_ms + 5,
    }
}

fn refuse(attempt: &mut Attempt) {
    attempt.outcome = Outcome::Refused;
    attempt.status = 401;
}

fn give_up(attempt: &mut Attempt) {
    attempt.outcome = Outcome::Unknown;
    attempt.status = 503;
}

#[test]
fn a_run_with_writes_faults_and_messages_shows_enough() {
    assert_eq!(Run::good().broken(), [] as [&str; 0]);
}

#[test]
fn a_run_in_which_nothing_is_accepted_shows_too_little() {
    let mut wrong_key = Run::good();
    wrong_key.change(0, 20_000, refuse);
    wrong_key.observed.messages.clear();
    let broken = wrong_key.broken();
    assert!(broken.contains(&"accepted writes"), "{broken:?}");
    assert!(
        broken.contains(&"events published under load"),
        "{broken:?}"
    );

    let mut wrong_port = Run::good();
    wrong_port.change(0, 20_000, |attempt| {
        attempt.outcome = Outcome::NotSent;
        attempt.status = 0;
    });
    let broken = wrong_port.broken();
    assert!(broken.contains(&"accepted writes"), "{broken:?}");
    assert!(
        broken.contains(&"writes without a clear answer"),
        "{broken:?}"
    );
}

#[test]
fn a_run_without_any_write_shows_too_little() {
    let mut idle = Run::good();
    idle.observed = Observed::default();
    assert_eq!(
        idle.broken(),
        [
            "accepted writes",
            "refusals that were judged",
            "events published under load",
            "accepted changes of the version that If-Match names",
            "accepted changes that change nothing",
            "accepted writes without a key",
            "accepted writes that were sent twice at once",
            "reads that were judged",
            "events of orders",
            "writes while only NATS was at fault"
        ]
    );
}

#[test]
fn a_run_whose_faults_have_no_effect_shows_too_little() {
    let mut without_effect = Run::good();
    without_effect.faults[1].took_effect_ms = None;
    assert_eq!(without_effect.broken(), ["faults that took effect"]);

    let mut without_faults = Run::good();
    without_faults.aim.faults = 0;
    without_faults.aim.includes_nats = false;
    without_faults.faults.clear();
    assert_eq!(without_faults.broken(), ["faults that took effect"]);
}

#[test]
fn a_run_without_writes_while_only_nats_is_at_fault_shows_too_little() {
    let floor = ["writes while only NATS was at fault"];
    let mut no_writes = Run::good();
    no_writes
        .observed
        .attempts
        .retain(|attempt| !(1_000..8_000).contains(&attempt.began_ms));
    assert_eq!(no_writes.broken(), floor);

    // The aftermath of another fault covers all of it.
    let mut another_fault = Run::good();
    another_fault.faults[1] = injected(Fault::KillInstance, 0, 500);
    assert_eq!(another_fault.broken(), floor);

    // It was ordered, and did nothing.
    let mut no_effect = Run::good();
    no_effect.faults[0].took_effect_ms = None;
    assert!(no_effect.broken().contains(&floor[0]));

    let mut not_chosen = no_writes;
    not_chosen.aim.includes_nats = false;
    assert_eq!(not_chosen.broken(), [] as [&str; 0]);
}

#[test]
fn writes_that_notice_that_nats_is_away_break_a_floor() {
    let failed = ["writes that failed or were sent twice while only NATS was at fault"];
    let mut one_failed = Run::good();
    one_failed.change(5_000, 5_100, give_up);
    assert_eq!(one_failed.broken(), failed);

    let mut one_sent_twice = Run::good();
    one_sent_twice.change(5_000, 5_100, |attempt| attempt.tries = 2);
    assert_eq!(one_sent_twice.broken(), failed);

    let mut slow = Run::good();
    slow.change(5_000, 6_000, |attempt| attempt.ended_ms += 3_000);
    assert_eq!(
        slow.broken(),
        ["writes that took longer than 2 s while only NATS was at fault"]
    );
}

#[test]
fn more_than_one_write_of_twenty_without_a_clear_answer_is_too_many() {
    let mut ten = Run::good();
    ten.change(12_000, 13_000, give_up);
    assert_eq!(ten.broken(), [] as [&str; 0]);

    let mut eleven = Run::good();
    eleven.change(12_000, 13_100, give_up);
    assert_eq!(eleven.broken(), ["writes without a clear answer"]);
}

#[test]
fn events_that_are_published_only_when_the_load_is_over_do_not_count() {
    let mut afterwards = Run::good();
    for message in &mut afterwards.observed.messages {
        message.stored_ms += 20_000;
    }
    assert_eq!(afterwards.broken(), ["events published under load"]);
}
