//! Which fault comes when: made from a seed, so that a run can be repeated.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use fastrand::Rng;
use serde::Serialize;

/// Longer than the service's lease and than the stream's de-duplication window of the experiment.
const LONG: (f64, f64) = (5.0, 9.0);
const SHORT: (f64, f64) = (0.3, 2.0);
const MIDDLE: (f64, f64) = (1.5, 5.0);

/// What is done to the service and to its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    KillInstance,
    KillPublisher,
    TerminateInstance,
    PauseInstance,
    PausePublisher,
    KillNats,
    KillAllNats,
    PauseNats,
    StepDownStream,
    KillPrimary,
    PausePrimary,
    StepDownPrimary,
    CutNats,
    BlackHoleNats,
    SlowNats,
    TearNats,
    CutMongo,
    BlackHoleMongo,
    SlowMongo,
    TearMongo,
    /// The publisher is paused until the oplog no longer reaches back to what it saw last.
    LoseHistory,
    /// An event that can never be published.
    Poison,
}

impl Fault {
    /// Whether it is NATS, or the way there, that is at fault: writes should not notice.
    pub(crate) fn is_of_nats(self) -> bool {
        use Fault::{
            BlackHoleNats, CutNats, KillAllNats, KillNats, PauseNats, SlowNats, StepDownStream,
            TearNats,
        };
        let of_nats = [
            KillNats,
            KillAllNats,
            PauseNats,
            StepDownStream,
            CutNats,
            BlackHoleNats,
            SlowNats,
            TearNats,
        ];
        of_nats.contains(&self)
    }

    /// Shortest and longest duration in seconds.
    fn lasts(self) -> (f64, f64) {
        match self {
            Self::PausePublisher
            | Self::KillAllNats
            | Self::PauseNats
            | Self::PausePrimary
            | Self::BlackHoleNats
            | Self::BlackHoleMongo => LONG,
            Self::KillInstance
            | Self::KillPublisher
            | Self::TerminateInstance
            | Self::PauseInstance
            | Self::TearNats
            | Self::TearMongo => SHORT,
            _ => MIDDLE,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(
            self.to_possible_value()
                .as_ref()
                .map_or("", |name| name.get_name()),
        )
    }
}

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

/// Goes through `faults` in a new order each time, with pauses of `gap` seconds in the mean: some faults
/// overlap, some are alone.
pub(crate) fn schedule(seed: u64, seconds: u64, gap: f64, faults: &[Fault]) -> Vec<Planned> {
    let mut rng = Rng::with_seed(seed);
    let mut planned = Vec::new();
    let mut bag: Vec<Fault> = Vec::new();
    let mut at = gap / 2.0;
    while at < seconds as f64 && !faults.is_empty() {
        if bag.is_empty() {
            bag.extend(faults);
            rng.shuffle(&mut bag);
        }
        let Some(fault) = bag.pop() else { break };
        let (shortest, longest) = fault.lasts();
        planned.push(Planned {
            at: Duration::from_secs_f64(at),
            lasts: Duration::from_secs_f64(shortest + rng.f64() * (longest - shortest)),
            fault,
            target: rng.usize(0..3),
            is_of_one: rng.bool(),
        });
        at += gap * (0.3 + 1.4 * rng.f64());
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_schedule_with_every_fault_in_it() {
        let all = Fault::value_variants();
        let planned = schedule(1, 300, 5.0, all);
        assert_eq!(planned, schedule(1, 300, 5.0, all));
        assert_ne!(planned, schedule(2, 300, 5.0, all));
        assert!(
            all.iter()
                .all(|fault| planned.iter().any(|planned| planned.fault == *fault))
        );
        assert!(
            planned
                .iter()
                .all(|planned| planned.at < Duration::from_secs(300))
        );
    }
}
