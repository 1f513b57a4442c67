//! One experiment: load and faults at once, then peace, then the verdict.

use std::{path::PathBuf, sync::Arc, time::Duration};

use testbed::Process;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::interval,
};

use crate::{
    client::Client,
    clock::Clock,
    domain::{ORDERS, TICKETS},
    first_write::first_write,
    floors::Aim,
    health::{elections, unhealthy},
    history::{Attempt, Observed, Read},
    inject::{Due, Injected, Log, inject, operators::restore},
    live::Consumer,
    load::{Told, load},
    observe,
    orders::{self, Orders},
    report::{Crashes, Report},
    schedule::Planned,
    story::Story,
    usage,
    world::{Disks, Plan, Sibling, Size, World},
};

/// After the last fault, the outbox is drained within this.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// The longest that one replay may take after all faults have ended.
const REPLAY_LIMIT: Duration = Duration::from_secs(600);
const SERVERS_INTERVAL: Duration = Duration::from_secs(5);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Experiment {
    pub(crate) aim: Aim,
    pub(crate) size: Size,
    pub(crate) faults: Vec<Planned>,
    pub(crate) program: PathBuf,
    /// The other service's, where there is one.
    pub(crate) orders: Option<PathBuf>,
    /// For data and logs.
    pub(crate) folder: PathBuf,
    /// More variables of the service's.
    pub(crate) environment: Vec<(String, String)>,
    /// What repeats it.
    pub(crate) command: String,
}

impl Experiment {
    /// What a failed run leaves.
    pub(crate) fn failure_folder(&self) -> PathBuf {
        let name = format!("failed-with-seed-{}", self.aim.seed);
        self.folder.with_file_name(name)
    }

    async fn world(&self) -> anyhow::Result<World> {
        let is_filled = self.faults.iter().any(|it| it.fault.fills_a_disk());
        let plan = Plan {
            size: self.size,
            program: &self.program,
            orders: self.orders.as_deref(),
            folder: &self.folder,
            environment: &self.environment,
            disks: if is_filled {
                Disks::Small
            } else {
                Disks::Plain
            },
            nats_args: Vec::new(),
        };
        World::start(&plan).await
    }

    /// # Errors
    /// When it can't be made, or nothing works even before the first fault.
    pub(crate) async fn run(&self) -> anyhow::Result<Report> {
        print_schedule(&self.faults);
        let world = Arc::new(self.world().await?);
        let client = Client::new(&world).await?;
        let first = first_write(&world, &client).await?;
        let clock = Clock::start();
        let log = Arc::new(Log::new(clock));
        let orders = match world.sibling {
            Some(_) => None,
            None => Some(Orders::new(&world).await?),
        };
        let consumer = Consumer::start(&world, TICKETS.stream, clock).await?;
        let of_orders = match world.sibling {
            Some(_) => Some(Consumer::start(&world, ORDERS.stream, clock).await?),
            None => None,
        };
        let (looks, mut looked) = mpsc::unbounded_channel();
        let watch = tokio::spawn(usage::watch(Arc::clone(&world), clock, looks));
        let (begun, _) = watch::channel(0);
        let mut injections = JoinSet::new();
        for planned in self.faults.clone() {
            let (world, log) = (Arc::clone(&world), Arc::clone(&log));
            let due = Due::new(&planned, self.aim.rate, begun.subscribe());
            injections.spawn(inject(world, planned, due, clock, log));
        }
        let progress = tokio::spawn(progress(self.aim.seconds));
        let servers = tokio::spawn(start_servers_that_end(Arc::clone(&world)));
        let mut told = load(&client, orders.as_ref(), &self.aim, clock, &begun).await?;
        told.attempts.push(first);
        drop(begun);
        progress.abort();
        eprintln!(
            "chaos: {} writes, {} of orders, and {} reads; waiting for the last faults to end",
            told.attempts.len(),
            told.placed.len(),
            told.reads.len()
        );
        while let Some(injected) = injections.join_next().await {
            injected?;
        }
        servers.abort();
        let crashes = start_what_crashed(&world).await?;
        world.ready().await?;
        for outbox in &world.outboxes {
            observe::settled(&outbox.database, SETTLE_LIMIT).await?;
        }
        publish_what_was_lost(&world, &log).await;
        watch.abort();
        let consumers = (consumer, of_orders);
        let (observed, injected) = self
            .end(&world, clock, &log, orders, told, consumers)
            .await?;
        let mut report = Report::new(&self.aim, self.size, &observed, injected, crashes);
        looked.recv_many(&mut report.usage, usize::MAX).await;
        self.tell(&report, &observed, clock)?;
        Ok(report)
    }

    /// What was told and what is left, when nothing moves any more; and the faults.
    async fn end(
        &self,
        world: &World,
        clock: Clock,
        log: &Log,
        orders: Option<Orders>,
        told: Told,
        (consumer, of_orders): (Consumer, Option<Consumer>),
    ) -> anyhow::Result<(Observed, Vec<Injected>)> {
        let (mut injected, planted, mut lost) = log.taken();
        injected.sort_by_key(|injected| injected.began_ms);
        let placed = ((told.placed, told.orders_read), of_orders);
        let mut sibling = self.sibling(world, clock, placed, &injected).await?;
        if let Some(sibling) = &mut sibling {
            sibling.lost = lost.remove(ORDERS.stream).unwrap_or_default();
        }
        let events = match (&orders, &sibling) {
            (Some(orders), _) => orders.told(),
            (None, Some(sibling)) => orders::recorded(&sibling.events),
            (None, None) => Vec::new(),
        };
        let mut orders = orders::settled(world, events).await?;
        observe::settled(&world.database, SETTLE_LIMIT).await?;
        let known = match &world.sibling {
            Some(sibling) => orders::known(world, sibling).await?,
            None => Vec::new(),
        };
        orders.put_aside = orders::put_aside(world, &planted).await?;
        eprintln!("chaos: reading documents, events and messages");
        let told = (told.attempts, told.reads);
        let own = (TICKETS, &world.database);
        let mut observed = observe::all(world, own, clock, told, planted, consumer).await?;
        observed.unhealthy = unhealthy(&injected, self.size, TICKETS);
        observed.lost = lost.remove(TICKETS.stream).unwrap_or_default();
        observed.orders = orders;
        observed.sibling = sibling;
        observed.known = known;
        observed.elections = elections(&injected);
        Ok((observed, injected))
    }

    /// What clients of the other service were told, and what the servers hold of it, where there is one.
    async fn sibling(
        &self,
        world: &World,
        clock: Clock,
        (told, consumer): ((Vec<Attempt>, Vec<Read>), Option<Consumer>),
        injected: &[Injected],
    ) -> anyhow::Result<Option<Box<Observed>>> {
        let (Some(Sibling { database, .. }), Some(consumer)) = (&world.sibling, consumer) else {
            return Ok(None);
        };
        observe::settled(database, SETTLE_LIMIT).await?;
        let of = (ORDERS, database);
        let mut observed = observe::all(world, of, clock, told, Vec::new(), consumer).await?;
        observed.unhealthy = unhealthy(injected, self.size, ORDERS);
        observed.elections = elections(injected);
        Ok(Some(Box::new(observed)))
    }

    /// Why it failed, where it did.
    fn tell(&self, report: &Report, observed: &Observed, clock: Clock) -> anyhow::Result<()> {
        let Some(why) = report.failure() else {
            return Ok(());
        };
        let story = Story {
            report,
            observed,
            clock,
            logs: &self.folder,
            command: &self.command,
            folder: self.failure_folder(),
        };
        story.write(&why)
    }
}

/// Starts servers that have ended by themselves: MongoDB with a full disk may end seconds after there is room again. A fault holds the lock of
/// the server that it works on.
async fn start_servers_that_end(world: Arc<World>) {
    let mut ticks = interval(SERVERS_INTERVAL);
    loop {
        ticks.tick().await;
        for server in world.mongo.iter().chain(&world.nats) {
            if let Ok(mut server) = server.try_lock() {
                start_where_it_ended(&mut server);
            }
        }
    }
}

fn start_where_it_ended(server: &mut Process) {
    if server.look() || server.pid().is_none() {
        let name = &server.name;
        eprintln!("chaos: {name} has ended by itself; it is started again");
        server.start();
    }
}

/// A fault's replay may have been cut short, so an operator replays again when all servers are there: what was lost on purpose, and nothing
/// else. Where that fails, the verdict tells what is missing.
async fn publish_what_was_lost(world: &World, log: &Log) {
    for outbox in &world.outboxes {
        for key in log.lost_of(outbox.service.stream) {
            let more: Vec<&str> = key.iter().flat_map(|key| ["--key", key]).collect();
            if let Err(error) = restore(outbox, &more, REPLAY_LIMIT).await {
                eprintln!("chaos: {error:#}");
            }
        }
    }
}

/// The verdict is about what a crashed instance left, too.
async fn start_what_crashed(world: &World) -> anyhow::Result<Crashes> {
    let mut crashes = Crashes::default();
    for server in world.mongo.iter().chain(&world.nats) {
        let mut server = server.lock().await;
        start_where_it_ended(&mut server);
        crashes.of_servers += server.crashes;
    }
    for instance in &world.instances {
        let mut instance = instance.lock().await;
        if instance.look() {
            instance.start();
        }
        crashes.of_instances += instance.crashes;
    }
    Ok(crashes)
}

fn print_schedule(planned: &[Planned]) {
    println!("schedule");
    for Planned {
        at,
        lasts,
        fault,
        target,
        is_of_one,
    } in planned
    {
        let of = if *is_of_one { "one" } else { "all" };
        println!(
            "  {:>7.1} s  {fault:<20} for {:>4.1} s  target {target}, links of {of}",
            at.as_secs_f64(),
            lasts.as_secs_f64()
        );
    }
}

async fn progress(seconds: u64) {
    let mut ticks = interval(PROGRESS_INTERVAL);
    for tick in 0.. {
        ticks.tick().await;
        eprintln!(
            "chaos: {} of {seconds} s",
            tick * PROGRESS_INTERVAL.as_secs()
        );
    }
}
