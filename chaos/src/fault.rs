//! What can be done to the service and to its servers.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::inject::{clock, disks};

/// Longer than the service's lease and than the stream's de-duplication window of the experiment.
const LONG: (f64, f64) = (5.0, 9.0);
const LONGEST: (f64, f64) = (12.0, 18.0);
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
    /// One of each kind.
    PoisonOfEachKind,
    /// A member of the cluster and the others do not reach each other; clients reach all.
    PartNats,
    PartMongo,
    /// One instance does not reach one server.
    PartInstanceNats,
    PartInstanceMongo,
    /// Twenty times, before it has settled.
    RestartNatsOften,
    RestartMongoOften,
    /// Longer than the lease, and than the server lets a transaction live.
    SuspendInstance,
    /// A MongoDB member whose clock is ten minutes away takes the lead.
    SkewClock,
    /// A disk is full for a while.
    FillNats,
    FillMongo,
    /// The stream loses the messages of a key, or all; the operator has them published again.
    PurgeKey,
    LoseStream,
    /// The operators' commands.
    Retry,
    Skip,
    Replay,
}

impl Fault {
    /// Whether it is NATS, or the way there, that is at fault: writes should not notice.
    pub(crate) fn is_of_nats(self) -> bool {
        use Fault::{
            BlackHoleNats, CutNats, FillNats, KillAllNats, KillNats, LoseStream, PartInstanceNats,
            PartNats, PauseNats, PurgeKey, RestartNatsOften, SlowNats, StepDownStream, TearNats,
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
            PartNats,
            PartInstanceNats,
            RestartNatsOften,
            FillNats,
            PurgeKey,
            LoseStream,
        ];
        of_nats.contains(&self)
    }

    /// Whether it can have an effect where there is one server of each only: no other can take the lead.
    pub(crate) fn is_possible_with_one(self) -> bool {
        !matches!(
            self,
            Self::StepDownStream | Self::PartNats | Self::PartMongo
        )
    }

    /// Why it can't be done on this machine; none where it can.
    pub(crate) fn impossible_here(self) -> Option<String> {
        match self {
            Self::SkewClock => clock::impossible(),
            Self::FillNats | Self::FillMongo => disks::impossible(),
            _ => None,
        }
    }

    /// Whether it needs disks that are small enough to be filled.
    pub(crate) fn fills_a_disk(self) -> bool {
        matches!(self, Self::FillNats | Self::FillMongo)
    }

    /// Whether it can stop every write where there is one server of each.
    pub(crate) fn may_stop_writes(self) -> bool {
        !self.is_of_nats() && !self.is_harmless()
    }

    /// Whether no write should notice it, nor any other event.
    pub(crate) fn is_harmless(self) -> bool {
        use Fault::{Poison, PoisonOfEachKind, Replay, Retry, Skip};
        [Poison, PoisonOfEachKind, Retry, Skip, Replay].contains(&self)
    }

    /// Shortest and longest duration in seconds.
    pub(crate) fn lasts(self) -> (f64, f64) {
        match self {
            Self::SuspendInstance => LONGEST,
            Self::PartNats
            | Self::PartMongo
            | Self::PausePublisher
            | Self::StepDownPrimary
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
