//! Does what the schedule says: one task for each fault, which undoes it when its time is over.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bson::{Binary, Document, Timestamp, doc, spec::BinarySubtype};
use mongodb::options::WriteConcern;
use serde::Serialize;
use tokio::time::{sleep, sleep_until};

use crate::{
    history::planted_event,
    process::Process,
    proxy::{Link, Mode},
    schedule::{Fault, Planned},
    servers::is_whole,
    world::{STREAM, Shared, World},
};

/// A member that was killed has caught up by then.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);
/// The server cuts its oplog when it gets to it.
const FILL_LIMIT: Duration = Duration::from_secs(30);
const DELAY: Duration = Duration::from_millis(500);
/// More than JetStream's default for a message.
const TOO_LARGE: usize = 2 * 1024 * 1024;

/// A fault as it was.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Injected {
    pub(crate) fault: Fault,
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
    /// What the attempt to inject it said when it could not be.
    pub(crate) failure: Option<String>,
}

/// What was injected so far, and the keys of the planted events.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) injected: Mutex<Vec<Injected>>,
    pub(crate) planted: Mutex<Vec<String>>,
}

/// Waits for the fault's time, injects it, undoes it.
pub(crate) async fn inject(world: Arc<World>, planned: Planned, began: Instant, log: Arc<Log>) {
    sleep_until((began + planned.at).into()).await;
    let ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let began_ms = ms();
    let failure = fault(&world, &planned, &log).await.err();
    let injected = Injected {
        fault: planned.fault,
        began_ms,
        ended_ms: ms(),
        failure: failure.map(|error| format!("{error:#}")),
    };
    log.injected
        .lock()
        .expect("no panic while it is held")
        .push(injected);
}

async fn fault(world: &World, planned: &Planned, log: &Log) -> anyhow::Result<()> {
    let Planned {
        lasts,
        target,
        fault,
        is_of_one,
        ..
    } = *planned;
    let of = |of: &[Shared]| Arc::clone(&of[target % of.len()]);
    match fault {
        Fault::KillInstance => kill(&[of(&world.instances)], lasts).await,
        Fault::KillPublisher => kill(&[publisher(world, target).await], lasts).await,
        Fault::TerminateInstance => terminate(&of(&world.instances), lasts).await,
        Fault::PauseInstance => pause(&of(&world.instances), lasts).await,
        Fault::PausePublisher => pause(&publisher(world, target).await, lasts).await,
        Fault::KillNats => kill(&[of(&world.nats)], lasts).await,
        Fault::KillAllNats => kill(&world.nats, lasts).await,
        Fault::PauseNats => pause(&of(&world.nats), lasts).await,
        Fault::StepDownStream => step_down_stream(world).await,
        Fault::KillPrimary => kill(&[primary(world, target).await], lasts).await,
        Fault::PausePrimary => pause(&primary(world, target).await, lasts).await,
        Fault::StepDownPrimary => step_down_primary(world).await,
        Fault::CutNats | Fault::BlackHoleNats | Fault::SlowNats | Fault::TearNats => {
            change(&world.nats_links, planned, lasts, is_of_one).await;
            Ok(())
        }
        Fault::CutMongo | Fault::BlackHoleMongo | Fault::SlowMongo | Fault::TearMongo => {
            change(&world.mongo_links, planned, lasts, is_of_one).await;
            Ok(())
        }
        Fault::LoseHistory => lose_history(world, target).await,
        Fault::Poison => poison(world, log).await,
    }
}

/// A process is under one fault at a time: its lock is held as long.
async fn kill(processes: &[Shared], lasts: Duration) -> anyhow::Result<()> {
    let mut killed = Vec::new();
    for process in processes {
        let mut process = process.lock().await;
        process.kill().await?;
        killed.push(process);
    }
    sleep(lasts).await;
    killed.iter_mut().try_for_each(|process| process.start())
}

async fn terminate(process: &Shared, lasts: Duration) -> anyhow::Result<()> {
    let mut process = process.lock().await;
    let ended = process.terminate().await;
    sleep(lasts).await;
    process.start()?;
    ended
}

async fn pause(process: &Shared, lasts: Duration) -> anyhow::Result<()> {
    let process = process.lock().await;
    process.pause().await?;
    sleep(lasts).await;
    process.resume().await
}

async fn change(links: &[Vec<Link>], planned: &Planned, lasts: Duration, is_of_one: bool) {
    let mode = match planned.fault {
        Fault::CutNats | Fault::CutMongo => Mode::Cut,
        Fault::BlackHoleNats | Fault::BlackHoleMongo => Mode::BlackHole,
        Fault::SlowNats | Fault::SlowMongo => Mode::Slow(DELAY),
        _ => Mode::Tear,
    };
    let chosen = planned.target % links.len();
    let links = || {
        let instances = links.iter().enumerate();
        instances
            .filter(move |(i, _)| !is_of_one || *i == chosen)
            .flat_map(|(_, links)| links)
    };
    links().for_each(|link| link.begin(mode));
    sleep(lasts).await;
    links().for_each(|link| link.end(mode));
}

/// The instance that publishes; another where nobody can tell.
async fn publisher(world: &World, otherwise: usize) -> Shared {
    let leases = world.database.collection::<Document>("leases");
    let lease = leases
        .find_one(doc! { "_id": "publisher" })
        .await
        .ok()
        .flatten();
    let pid = lease.and_then(|lease| {
        let instance = lease.get_str("instance").ok()?;
        instance.rsplit('/').next()?.parse::<u32>().ok()
    });
    find(&world.instances, |process| process.pid() == pid)
        .await
        .unwrap_or_else(|| Arc::clone(&world.instances[otherwise % world.instances.len()]))
}

async fn primary(world: &World, otherwise: usize) -> Shared {
    let admin = world.database.client().database("admin");
    let status = admin.run_command(doc! { "serverStatus": 1 }).await.ok();
    let pid = status.and_then(|status| status.get_i64("pid").ok());
    find(&world.mongo, |process| process.pid().map(i64::from) == pid)
        .await
        .unwrap_or_else(|| Arc::clone(&world.mongo[otherwise % world.mongo.len()]))
}

async fn find(processes: &[Shared], is_it: impl Fn(&Process) -> bool) -> Option<Shared> {
    for process in processes {
        if is_it(&*process.lock().await) {
            return Some(Arc::clone(process));
        }
    }
    None
}

async fn step_down_stream(world: &World) -> anyhow::Result<()> {
    let client = async_nats::connect(world.nats_urls.as_slice()).await?;
    let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}");
    client.request(subject, "".into()).await?;
    Ok(())
}

async fn step_down_primary(world: &World) -> anyhow::Result<()> {
    let admin = world.database.client().database("admin");
    let command = doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 1, "force": true };
    admin.run_command(command).await?;
    Ok(())
}

/// Writes more than the oplog holds while the publisher is paused. No member may be away meanwhile: it would
/// have to be copied anew.
async fn lose_history(world: &World, otherwise: usize) -> anyhow::Result<()> {
    let publisher = publisher(world, otherwise).await;
    let mut members = Vec::new();
    for member in &world.mongo {
        members.push(member.lock().await);
    }
    let publisher = publisher.lock().await;
    let admin = world.database.client().database("admin");
    let deadline = Instant::now() + RECOVERY_LIMIT;
    while !is_whole(&admin).await? {
        ensure!(
            Instant::now() < deadline,
            "a member of the replica set is away"
        );
        sleep(RECOVERY_LIMIT / 100).await;
    }
    publisher.pause().await?;
    // What it asked last waits for a second at the server, and reads along so long.
    sleep(Duration::from_millis(1_100)).await;
    let filled = fill(world).await;
    publisher.resume().await?;
    filled
}

/// Fills the oplog until the newest entry of before is no longer its oldest, nor behind it.
async fn fill(world: &World) -> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let filler = world.database.collection::<Document>("filler");
    // All of them: one that falls behind an oplog as short as this one would have to be copied anew.
    let members = u32::try_from(world.mongo.len())?;
    let bytes = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; MIB],
    };
    let seen = entry(world, -1).await?;
    let deadline = Instant::now() + FILL_LIMIT;
    // An error says that the oldest was cut off while it was read.
    while entry(world, 1).await.is_ok_and(|oldest| oldest <= seen) {
        ensure!(Instant::now() < deadline, "the oplog still reaches back");
        let batch = (0..4).map(|_| doc! { "filler": &bytes });
        filler
            .insert_many(batch)
            .write_concern(WriteConcern::nodes(members))
            .await?;
    }
    Ok(filler.drop().await?)
}

/// When the oldest (1) or the newest (-1) entry of the primary's oplog was written.
async fn entry(world: &World, order: i32) -> anyhow::Result<Timestamp> {
    let local = world.database.client().database("local");
    let oplog = local.collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).sort(doc! { "$natural": order });
    Ok(entry
        .await?
        .context("the oplog is empty")?
        .get_timestamp("ts")?)
}

/// Two events of a key of its own: one that is too large, and one behind it that must be held back.
async fn poison(world: &World, log: &Log) -> anyhow::Result<()> {
    let key = format!("planted-{:08x}", fastrand::u32(..));
    log.planted
        .lock()
        .expect("no panic while it is held")
        .push(key.clone());
    let too_large = doc! { "title": "x".repeat(TOO_LARGE) };
    let events = [
        planted_event(&key, 0, too_large),
        planted_event(&key, 1, doc! { "title": "behind" }),
    ];
    world
        .database
        .collection::<Document>("events")
        .insert_many(events)
        .ordered(true)
        .await?;
    Ok(())
}
