//! Does what the schedule says: one task for each fault, which undoes it when its time is over. A fault counts as injected
//! only when its effect was seen: a death, a stopped process, a connection that broke, another leader.

pub(crate) mod clock;
pub(crate) mod disks;
mod links;
mod mongo;
mod nats;
pub(crate) mod operators;
mod poison;
mod processes;
mod streams;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bson::{Document, doc};
use serde::Serialize;
use testbed::within;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    fault::Fault,
    history::{Loss, Lost},
    schedule::Planned,
    world::{Shared, World},
};

/// What was cut off, or had to elect, is back by then.
const RECOVERY_LIMIT: Duration = Duration::from_secs(20);

/// A server carries out what it was asked for by then, where nobody has heard its answer.
const CARRIED_OUT_MS: u64 = 10_000;

/// A fault as it was.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Injected {
    pub(crate) fault: Fault,
    /// Which operation of the load it began with: the same seed makes the same faults at the same operations.
    pub(crate) operation: u64,
    /// Servers and instances that others could not reach, or that did nothing.
    pub(crate) away: Vec<String>,
    /// When it was begun; it may have waited for another one to end.
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
    /// Since when it had an effect.
    pub(crate) took_effect_ms: Option<u64>,
    /// How the effect showed; or why there was none.
    pub(crate) seen: String,
}

impl Injected {
    pub(crate) fn took_effect(&self) -> bool {
        self.took_effect_ms.is_some()
    }
}

/// How a fault showed itself, and since when.
pub(crate) struct Effect {
    since: Instant,
    seen: String,
    away: Vec<String>,
}

/// When a fault is due: with an operation of the load.
pub(crate) struct Due {
    operation: u64,
    begun: watch::Receiver<u64>,
}

impl Due {
    pub(crate) fn new(planned: &Planned, rate: u32, begun: watch::Receiver<u64>) -> Self {
        let operation = (planned.at.as_secs_f64() * f64::from(rate)) as u64;
        Self { operation, begun }
    }

    /// # Errors
    /// When the load ends before.
    async fn wait(&mut self) -> anyhow::Result<()> {
        let is_due = |begun: &u64| *begun >= self.operation;
        let due = self.begun.wait_for(is_due).await;
        due.map(drop).context("the load ended before it was due")
    }
}

/// What was injected so far, and the ids of the planted events.
pub(crate) struct Log {
    clock: Clock,
    injected: Mutex<Vec<Injected>>,
    planted: Mutex<Vec<String>>,
    /// By stream.
    lost: Mutex<HashMap<&'static str, Lost>>,
}

impl Log {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            injected: Mutex::default(),
            planted: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    pub(crate) fn plant(&self, id: String) {
        let mut planted = self.planted.lock().expect("no panic while it is held");
        planted.push(id);
    }

    /// A stream is about to lose the messages of a key, or all; which loss of it that is.
    pub(crate) fn lose(&self, stream: &'static str, key: Option<&str>) -> usize {
        let mut lost = self.lost.lock().expect("no panic while it is held");
        let losses = &mut lost.entry(stream).or_default().0;
        losses.push(Loss {
            key: key.map(str::to_owned),
            from_ms: self.clock.now_ms(),
            until_ms: u64::MAX,
        });
        losses.len() - 1
    }

    /// That loss has taken all that it takes: what is stored from now on stays. A server may carry a request out that seems to have failed,
    /// but not for longer.
    pub(crate) fn has_taken<T>(&self, stream: &'static str, loss: usize, done: &anyhow::Result<T>) {
        let later_ms = if done.is_ok() { 0 } else { CARRIED_OUT_MS };
        let mut lost = self.lost.lock().expect("no panic while it is held");
        lost.entry(stream).or_default().0[loss].until_ms = self.clock.now_ms() + later_ms;
    }

    /// Of which keys a stream has lost messages so far; none stands for all.
    pub(crate) fn lost_of(&self, stream: &str) -> HashSet<Option<String>> {
        let lost = self.lost.lock().expect("no panic while it is held");
        let losses = lost.get(stream).into_iter().flat_map(|lost| &lost.0);
        losses.map(|loss| loss.key.clone()).collect()
    }

    /// All of it, when all is over.
    pub(crate) fn taken(&self) -> (Vec<Injected>, Vec<String>, HashMap<&'static str, Lost>) {
        fn taken<T: Default>(of: &Mutex<T>) -> T {
            std::mem::take(&mut *of.lock().expect("no panic while it is held"))
        }
        (
            taken(&self.injected),
            taken(&self.planted),
            taken(&self.lost),
        )
    }
}

/// Waits for the fault's time, injects it, undoes it.
pub(crate) async fn inject(
    world: Arc<World>,
    planned: Planned,
    mut due: Due,
    clock: Clock,
    log: Arc<Log>,
) {
    let is_due = due.wait().await;
    let began_ms = clock.now_ms();
    let done = match is_due {
        Ok(()) => fault(&world, &planned, &log).await,
        Err(error) => Err(error),
    };
    let (took_effect_ms, seen, away) = match done {
        Ok(effect) => (Some(clock.ms(effect.since)), effect.seen, effect.away),
        Err(error) => (None, format!("{error:#}"), Vec::new()),
    };
    let injected = Injected {
        fault: planned.fault,
        operation: due.operation,
        away,
        began_ms,
        ended_ms: clock.now_ms(),
        took_effect_ms,
        seen,
    };
    log.injected
        .lock()
        .expect("no panic while it is held")
        .push(injected);
}

async fn fault(world: &World, planned: &Planned, log: &Log) -> anyhow::Result<Effect> {
    let Planned {
        lasts,
        target,
        fault,
        ..
    } = *planned;
    let of = |of: &[Shared]| Arc::clone(&of[target % of.len()]);
    match fault {
        Fault::KillInstance => processes::kill(&[of(&world.instances)], lasts).await,
        Fault::KillPublisher => processes::kill(&[publisher(world, target).await?], lasts).await,
        Fault::TerminateInstance => processes::terminate(&of(&world.instances), lasts).await,
        Fault::PauseInstance => processes::pause(&of(&world.instances), lasts).await,
        Fault::PausePublisher => processes::pause(&publisher(world, target).await?, lasts).await,
        Fault::KillNats => processes::kill(&[of(&world.nats)], lasts).await,
        Fault::KillAllNats => processes::kill(&world.nats, lasts).await,
        Fault::PauseNats => processes::pause(&of(&world.nats), lasts).await,
        Fault::StepDownStream => nats::step_down_stream(world, target).await,
        Fault::KillPrimary => processes::kill(&[mongo::primary(world).await?], lasts).await,
        Fault::PausePrimary => processes::pause(&mongo::primary(world).await?, lasts).await,
        Fault::StepDownPrimary => mongo::step_down_primary(world).await,
        Fault::CutNats | Fault::BlackHoleNats | Fault::SlowNats | Fault::TearNats => {
            links::change(&world.names, &world.nats_links, planned).await
        }
        Fault::PartInstanceNats => links::part_one(&world.names, &world.nats_links, planned).await,
        Fault::PartInstanceMongo => {
            links::part_one(&world.names, &world.mongo_links, planned).await
        }
        Fault::PartNats => links::part_member("nats", &world.nats_pairs, planned).await,
        Fault::PartMongo => links::part_member("mongo", &world.mongo_pairs, planned).await,
        Fault::RestartNatsOften => processes::restart_often(&of(&world.nats)).await,
        Fault::RestartMongoOften => processes::restart_often(&of(&world.mongo)).await,
        Fault::SuspendInstance => processes::pause(&of(&world.instances), lasts).await,
        Fault::SkewClock => clock::skew(world, planned).await,
        Fault::FillNats => disks::fill(world.nats_disk.as_ref(), &world.nats[0], planned).await,
        Fault::FillMongo => disks::fill(world.mongo_disk.as_ref(), &world.mongo[0], planned).await,
        Fault::PurgeKey => streams::purge_key(world, target, log).await,
        Fault::LoseStream => streams::lose(world, target, log).await,
        Fault::Retry => operators::retry(world, log).await,
        Fault::Skip => operators::skip(world, log).await,
        Fault::Replay => operators::replay(world.outbox_of(target)).await,
        Fault::PoisonOfEachKind => poison::of_each_kind(world, log).await,
        Fault::CutMongo | Fault::BlackHoleMongo | Fault::SlowMongo | Fault::TearMongo => {
            links::change(&world.names, &world.mongo_links, planned).await
        }
        Fault::LoseHistory => mongo::lose_history(world, target).await,
        Fault::Poison => poison::plant(world, log).await,
    }
}

/// The instance that publishes, of one service or the other.
async fn publisher(world: &World, target: usize) -> anyhow::Result<Shared> {
    let database = &world.outbox_of(target).database;
    let leases = database.collection::<Document>("leases");
    let holder = || async {
        let lease = leases.find_one(doc! { "_id": "publisher" }).await?;
        let lease = lease.context("nobody has the lease")?;
        let instance = lease.get_str("instance")?;
        let pid = instance.rsplit('/').next().unwrap_or_default().parse()?;
        find(&world.instances, pid).await
    };
    within(RECOVERY_LIMIT, "an instance publishes", holder).await
}

/// The process of this number.
async fn find(processes: &[Shared], pid: u32) -> anyhow::Result<Shared> {
    for process in processes {
        if process.lock().await.pid() == Some(pid) {
            return Ok(Arc::clone(process));
        }
    }
    bail!("process {pid} has ended")
}
