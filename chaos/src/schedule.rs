//! Which fault comes when: made from a seed, so that a run can be repeated.

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::fault::Fault;

/// How much of the time belongs to faults of NATS alone, and how many seconds at most.
const NATS_ALONE_SHARE: f64 = 1.0 / 3.0;
const NATS_ALONE_LIMIT: f64 = 30.0;
/// A multiple of how many servers or instances there may be of a kind.
const TARGETS: usize = 12;
/// For an election, for what waited, and for what a dead process had locked.
const RECOVERY: f64 = 2.0;

/// A fault, when it begins and how long it lasts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
    /// Which of the servers or instances: the remainder by their number.
    pub(crate) target: usize,
    /// Whether a link's fault is one instance's only.
    pub(crate) is_of_one: bool,
}

/// What a schedule is made from.
pub(crate) struct Plan<'a> {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Seconds between the beginnings of two faults, in the mean.
    pub(crate) gap: f64,
    /// The faults to choose from.
    pub(crate) faults: &'a [Fault],
    /// Whether faults that can stop every write come one after the other, with time to recover between. Where there is one
    /// server of each they would else add up, and nothing would be written for most of the time.
    pub(crate) is_spaced: bool,
}

/// At first NATS alone is at fault, and wholly away to begin with; then whatever there is.
pub(crate) fn schedule(plan: &Plan<'_>) -> Vec<Planned> {
    let mut dealer = Dealer {
        plan,
        rng: Rng::with_seed(plan.seed),
        at: plan.gap / 2.0,
        writes_recover_at: 0.0,
        planned: Vec::new(),
    };
    let of_nats = plan.faults.iter().copied().filter(|f| f.is_of_nats());
    let of_nats: Vec<Fault> = of_nats.collect();
    let end = plan.seconds as f64;
    if of_nats.contains(&Fault::KillAllNats) {
        dealer.at += dealer.add(Fault::KillAllNats);
        dealer.pause();
    }
    if !of_nats.is_empty() {
        let nats_alone = (end * NATS_ALONE_SHARE).min(NATS_ALONE_LIMIT);
        dealer.deal(&of_nats, nats_alone);
    }
    dealer.deal(plan.faults, end);
    dealer.planned
}

struct Dealer<'a> {
    plan: &'a Plan<'a>,
    rng: Rng,
    /// When the next fault is due, in seconds.
    at: f64,
    /// After the last fault that could stop every write.
    writes_recover_at: f64,
    planned: Vec<Planned>,
}

impl Dealer<'_> {
    /// Plans `faults` until `end`, in a new order each time.
    fn deal(&mut self, faults: &[Fault], end: f64) {
        let mut bag: Vec<Fault> = Vec::new();
        while self.at < end {
            if bag.is_empty() {
                bag.extend(faults);
                self.rng.shuffle(&mut bag);
            }
            let Some(fault) = bag.pop() else { break };
            let is_spaced = self.plan.is_spaced && fault.may_stop_writes();
            if is_spaced {
                self.at = self.at.max(self.writes_recover_at);
            }
            if self.at >= end {
                break;
            }
            let lasts = self.add(fault);
            if is_spaced {
                self.writes_recover_at = self.at + lasts + RECOVERY;
            }
            self.pause();
        }
    }

    /// How many seconds it lasts.
    fn add(&mut self, fault: Fault) -> f64 {
        let (shortest, longest) = fault.lasts();
        let lasts = shortest + self.rng.f64() * (longest - shortest);
        self.planned.push(Planned {
            at: Duration::from_secs_f64(self.at),
            lasts: Duration::from_secs_f64(lasts),
            fault,
            target: self.rng.usize(0..TARGETS),
            is_of_one: self.rng.bool(),
        });
        lasts
    }

    /// Some faults overlap, some are alone.
    fn pause(&mut self) {
        self.at += self.plan.gap * (0.3 + 1.4 * self.rng.f64());
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn plan(seed: u64) -> Plan<'static> {
        Plan {
            seed,
            seconds: 30,
            gap: 2.5,
            faults: Fault::value_variants(),
            is_spaced: false,
        }
    }

    #[test]
    fn all_of_nats_is_away_first_and_nats_alone_is_at_fault_for_a_while() {
        for seed in 0..100 {
            let planned = schedule(&plan(seed));
            assert_eq!(planned[0].fault, Fault::KillAllNats);
            let nats_is_back = planned[0].at + planned[0].lasts;
            let mut others = planned.iter().filter(|planned| !planned.fault.is_of_nats());
            assert!(others.all(|other| other.at > nats_is_back && other.at.as_secs() >= 10));
        }
    }

    #[test]
    fn without_a_fault_of_nats_the_others_begin_at_once() {
        let planned = schedule(&Plan {
            faults: &[Fault::KillInstance],
            ..plan(1)
        });
        assert!(planned[0].at < Duration::from_secs(3));
    }

    #[test]
    fn spaced_faults_that_may_stop_writes_do_not_overlap() {
        for seed in 0..100 {
            let planned = schedule(&Plan {
                is_spaced: true,
                seconds: 300,
                ..plan(seed)
            });
            let stopping: Vec<_> = planned
                .iter()
                .filter(|planned| planned.fault.may_stop_writes())
                .collect();
            let recovered = |pair: &[&Planned]| {
                pair[1].at >= pair[0].at + pair[0].lasts + Duration::from_secs_f64(RECOVERY - 0.001)
            };
            assert!(stopping.windows(2).all(recovered));
        }
    }

    #[test]
    fn a_seed_makes_one_schedule_with_every_fault_in_it() {
        let long = |seed| {
            schedule(&Plan {
                seconds: 300,
                ..plan(seed)
            })
        };
        assert_eq!(long(1), long(1));
        assert_ne!(long(1), long(2));
        let is_planned = |fault: &Fault| long(1).iter().any(|planned| planned.fault == *fault);
        assert!(Fault::value_variants().iter().all(is_planned));
        let is_in_time = |planned: &Planned| planned.at < Duration::from_secs(300);
        assert!(long(1).iter().all(is_in_time));
    }
}
