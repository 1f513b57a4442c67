//! Does what the schedule says: one task for each fault, which undoes it when its time is over. A fault counts as injected
//! only when its effect was seen: a death, a stopped process, a connection that broke, another leader.

mod links;
mod mongo;
mod nats;
mod processes;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bson::{DateTime, Document, doc, oid::ObjectId};
use serde::Serialize;
use testbed::within;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    domain::CHANGED,
    fault::Fault,
    schedule::Planned,
    world::{Shared, World},
};

/// More than JetStream's default for a message.
const TOO_LARGE: usize = 2 * 1024 * 1024;
/// What was cut off, or had to elect, is back by then.
const RECOVERY_LIMIT: Duration = Duration::from_secs(20);
/// The publisher may have to wait for NATS, which other faults keep away.
const PARKING_LIMIT: Duration = Duration::from_secs(60);

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
#[derive(Default)]
pub(crate) struct Log {
    injected: Mutex<Vec<Injected>>,
    planted: Mutex<Vec<String>>,
}

impl Log {
    pub(crate) fn plant(&self, id: String) {
        let mut planted = self.planted.lock().expect("no panic while it is held");
        planted.push(id);
    }

    /// Both lists, when all is over.
    pub(crate) fn taken(&self) -> (Vec<Injected>, Vec<String>) {
        let mut injected = self.injected.lock().expect("no panic while it is held");
        let mut planted = self.planted.lock().expect("no panic while it is held");
        (
            std::mem::take(&mut *injected),
            std::mem::take(&mut *planted),
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
        Fault::KillPublisher => processes::kill(&[publisher(world).await?], lasts).await,
        Fault::TerminateInstance => processes::terminate(&of(&world.instances), lasts).await,
        Fault::PauseInstance => processes::pause(&of(&world.instances), lasts).await,
        Fault::PausePublisher => processes::pause(&publisher(world).await?, lasts).await,
        Fault::KillNats => processes::kill(&[of(&world.nats)], lasts).await,
        Fault::KillAllNats => processes::kill(&world.nats, lasts).await,
        Fault::PauseNats => processes::pause(&of(&world.nats), lasts).await,
        Fault::StepDownStream => nats::step_down_stream(world).await,
        Fault::KillPrimary => processes::kill(&[mongo::primary(world).await?], lasts).await,
        Fault::PausePrimary => processes::pause(&mongo::primary(world).await?, lasts).await,
        Fault::StepDownPrimary => mongo::step_down_primary(world).await,
        Fault::CutNats | Fault::BlackHoleNats | Fault::SlowNats | Fault::TearNats => {
            links::change(&world.nats_links, planned).await
        }
        Fault::CutMongo | Fault::BlackHoleMongo | Fault::SlowMongo | Fault::TearMongo => {
            links::change(&world.mongo_links, planned).await
        }
        Fault::LoseHistory => mongo::lose_history(world).await,
        Fault::Poison => poison(world, log).await,
    }
}

/// The instance that publishes.
async fn publisher(world: &World) -> anyhow::Result<Shared> {
    let leases = world.database.collection::<Document>("leases");
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

/// Two events of a key of its own: one that is too large, and one behind it that must be held back.
async fn poison(world: &World, log: &Log) -> anyhow::Result<Effect> {
    let key = format!("planted-{:08x}", fastrand::u32(..));
    let too_large = doc! { "planted": "x".repeat(TOO_LARGE) };
    let planted = [
        planted_event(&key, 0, too_large),
        planted_event(&key, 1, doc! { "planted": "behind" }),
    ];
    let events = world.database.collection::<Document>("events");
    for event in &planted {
        let id = event.get_object_id("_id")?;
        log.plant(id.to_hex());
        let id = doc! { "_id": id };
        // A database that is away is back soon.
        within(RECOVERY_LIMIT, "an event is planted", || async {
            let insert = doc! { "$setOnInsert": event };
            Ok(events.update_one(id.clone(), insert).upsert(true).await?)
        })
        .await?;
    }
    let since = Instant::now();
    let parked = world.database.collection::<bson::Document>("parked");
    within(
        PARKING_LIMIT,
        "an event that is too large is parked",
        || async {
            let found = parked.find_one(doc! { "key": &key }).await?;
            found.map(drop).context("it is not")
        },
    )
    .await?;
    Ok(Effect {
        since,
        seen: format!("version 0 of {key} was parked"),
        away: Vec::new(),
    })
}

/// An event that can never be published, as the service would record it; `data` is what is wrong with it.
fn planted_event(key: &str, version: i64, data: Document) -> Document {
    doc! {
        "_id": ObjectId::new(), "type": CHANGED, "subject": format!("{}.{key}", CHANGED),
        "key": key, "version": version, "data": data, "sent": "NO", "createdAt": DateTime::now(),
    }
}
