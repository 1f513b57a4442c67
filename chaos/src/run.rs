//! One experiment: load and faults at once, then peace, then the verdict.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::interval};

use crate::{
    checker::check,
    history::Observed,
    inject::{Log, inject},
    load::load,
    observe,
    report::Report,
    schedule::Planned,
    world::{Size, World},
};

/// After the last fault, the outbox is drained within this.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Experiment {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Writes that are begun in a second.
    pub(crate) rate: u32,
    pub(crate) size: Size,
    pub(crate) faults: Vec<Planned>,
    pub(crate) program: PathBuf,
    /// Where `mongod` and `nats-server` are.
    pub(crate) servers: PathBuf,
    /// For data and logs.
    pub(crate) folder: PathBuf,
    /// More variables of the service's.
    pub(crate) environment: Vec<(String, String)>,
}

impl Experiment {
    pub(crate) async fn run(&self) -> anyhow::Result<Report> {
        print_schedule(&self.faults);
        let world = World::start(
            self.size,
            &self.program,
            &self.servers,
            &self.folder,
            &self.environment,
        );
        let world = Arc::new(world.await?);
        let log = Arc::new(Log::default());
        let began = Instant::now();
        let mut injections = JoinSet::new();
        for planned in self.faults.clone() {
            injections.spawn(inject(Arc::clone(&world), planned, began, Arc::clone(&log)));
        }
        let progress = tokio::spawn(progress(began, self.seconds));
        let until = Duration::from_secs(self.seconds);
        let attempts = load(&world, self.rate, self.seed, began, until).await?;
        progress.abort();
        eprintln!(
            "chaos: {} writes; waiting for the last faults to end",
            attempts.len()
        );
        while let Some(injected) = injections.join_next().await {
            injected?;
        }
        let mut crashes = 0;
        for instance in &world.instances {
            let mut instance = instance.lock().await;
            if instance.look() {
                // The verdict is about what it left, too.
                instance.start()?;
            }
            crashes += instance.crashes;
        }
        world.ready().await?;
        observe::settled(&world, SETTLE_LIMIT).await?;
        eprintln!("chaos: reading tickets, events and messages");
        let planted = log
            .planted
            .lock()
            .expect("no panic while it is held")
            .clone();
        let observed = Observed {
            attempts,
            planted,
            tickets: observe::tickets(&world).await?,
            events: observe::events(&world).await?,
            messages: observe::messages(&world).await?,
        };
        let violations = check(&observed);
        let Size {
            instances,
            mongo,
            nats,
        } = self.size;
        let mut injected = log
            .injected
            .lock()
            .expect("no panic while it is held")
            .clone();
        injected.sort_by_key(|injected| injected.began_ms);
        Ok(Report::new(
            (self.seed, self.seconds, self.rate),
            [instances, mongo, nats],
            &observed,
            injected,
            crashes,
            violations,
        ))
    }
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

async fn progress(began: Instant, seconds: u64) {
    let mut ticks = interval(PROGRESS_INTERVAL);
    loop {
        ticks.tick().await;
        eprintln!("chaos: {} of {seconds} s", began.elapsed().as_secs());
    }
}
