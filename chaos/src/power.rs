//! What servers lose of what they acknowledged when the power of their disks fails: of the process nothing is left but what its
//! disk's file holds. The figures stand in docs/guarantees.md.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use testbed::within;
use tokio::sync::watch;

use crate::{
    Programs,
    checker::{Kind, check},
    client::Client,
    clock::Clock,
    domain::TICKETS,
    first_write::first_write,
    floors::Aim,
    history::Observed,
    live::Consumer,
    load::load,
    observe,
    orders::Orders,
    world::{Disks, Plan, Size, World},
};

const RATE: u32 = 60;
const LIMIT: Duration = Duration::from_secs(60);

/// Whose power fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The server that leads the stream, alone.
    Leader,
    AllNats,
    AllMongo,
}

struct Scenario {
    name: &'static str,
    size: Size,
    of: Of,
    /// `sync_interval: always` of JetStream.
    syncs_always: bool,
}

const SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "NATS, one server",
        size: Size::ONE,
        of: Of::AllNats,
        syncs_always: false,
    },
    Scenario {
        name: "NATS, one server, sync_interval: always",
        size: Size::ONE,
        of: Of::AllNats,
        syncs_always: true,
    },
    Scenario {
        name: "NATS, three servers, the leader's",
        size: Size::THREE,
        of: Of::Leader,
        syncs_always: false,
    },
    Scenario {
        name: "NATS, three servers, all",
        size: Size::THREE,
        of: Of::AllNats,
        syncs_always: false,
    },
    Scenario {
        name: "NATS, three servers, all, sync_interval: always",
        size: Size::THREE,
        of: Of::AllNats,
        syncs_always: true,
    },
    Scenario {
        name: "MongoDB, one server",
        size: Size::ONE,
        of: Of::AllMongo,
        syncs_always: false,
    },
    Scenario {
        name: "MongoDB, three servers, all",
        size: Size::THREE,
        of: Of::AllMongo,
        syncs_always: false,
    },
];

/// Each scenario in turn, as a table.
///
/// # Errors
/// When one can't be tried.
pub(crate) async fn measure(only: &str, seconds: u64, programs: &Programs) -> anyhow::Result<()> {
    println!(
        "| whose power failed | writes | events acknowledged | writes lost | events lost by the stream | after `outbox replay` |"
    );
    println!("|---|---|---|---|---|---|");
    for scenario in SCENARIOS.iter().filter(|it| it.name.contains(only)) {
        let row = scenario.run(seconds, programs).await;
        println!("{}", row.with_context(|| scenario.name)?);
    }
    Ok(())
}

impl Scenario {
    async fn run(&self, seconds: u64, programs: &Programs) -> anyhow::Result<String> {
        let mut experiment = programs.experiment(aim(seconds), self.size, Vec::new())?;
        experiment.folder.push("power");
        let config = experiment.folder.with_extension("nats.conf");
        fs::create_dir_all(&experiment.folder)?;
        let mut world = World::start(&Plan {
            size: self.size,
            program: &experiment.program,
            orders: None,
            folder: &experiment.folder,
            environment: &experiment.environment,
            disks: Disks::Images,
            nats_args: self.nats_args(&config)?,
        })
        .await?;
        let client = Client::new(&world).await?;
        let mut attempts = vec![first_write(&world, &client).await?];
        let orders = Orders::new(&world).await?;
        let clock = Clock::start();
        let (begun, _) = watch::channel(0);
        attempts.extend(
            load(&client, Some(&orders), &aim(seconds), clock, &begun)
                .await?
                .attempts,
        );
        observe::settled(&world.database, LIMIT).await?;
        self.lose_power(&mut world).await?;
        world.ready().await?;
        let after = seen(&world, clock).await?;
        let acknowledged = after.events.iter().filter(|event| event.is_sent).count();
        let found = within(LIMIT, "what was lost is published again", || {
            world.outbox().command(&["replay", "--since", "1h"])
        });
        let replayed = found.await?["lost"].as_array().map_or(0, Vec::len);
        let mut end = seen(&world, clock).await?;
        let count = attempts.len();
        end.attempts = attempts;
        Ok(format!(
            "| {} | {count} | {acknowledged} | {} | {} | {} (of {replayed} published again) |",
            self.name,
            lost_writes(&end),
            lost_events(&after),
            lost_events(&end)
        ))
    }

    fn nats_args(&self, config: &Path) -> anyhow::Result<Vec<std::ffi::OsString>> {
        if !self.syncs_always {
            return Ok(Vec::new());
        }
        fs::write(config, "jetstream { sync_interval: always }\n")?;
        Ok(vec!["-c".into(), config.into()])
    }

    /// All at once, and they start again.
    async fn lose_power(&self, world: &mut World) -> anyhow::Result<()> {
        let leader = observe::leader(world).await?;
        let is_meant = |name: &String| match self.of {
            Of::AllNats | Of::AllMongo => true,
            Of::Leader => Some(name) == leader.as_ref(),
        };
        let (servers, images) = match self.of {
            Of::AllMongo => (&world.mongo, &mut world.mongo_images),
            Of::AllNats | Of::Leader => (&world.nats, &mut world.nats_images),
        };
        for server in servers {
            let mut server = server.lock().await;
            if is_meant(&server.name) {
                server.kill()?;
            }
        }
        for (server, image) in servers.iter().zip(images) {
            if is_meant(&server.lock().await.name) {
                image.lose_power()?;
            }
        }
        for server in servers {
            let mut server = server.lock().await;
            if is_meant(&server.name) {
                server.start();
            }
        }
        Ok(())
    }
}

fn aim(seconds: u64) -> Aim {
    Aim {
        seed: 1,
        seconds,
        rate: RATE,
        faults: 0,
        includes_nats: false,
    }
}

/// What the servers hold; without what each replica does.
async fn seen(world: &World, clock: Clock) -> anyhow::Result<Observed> {
    within(LIMIT, "the servers are read", || async {
        let consumer = Consumer::start(world, TICKETS.stream, clock).await?;
        let told = (Vec::new(), Vec::new());
        observe::all(
            world,
            (TICKETS, &world.database),
            clock,
            told,
            Vec::new(),
            consumer,
        )
        .await
    })
    .await
}

/// Events that are marked as sent and that the stream does not hold.
fn lost_events(observed: &Observed) -> usize {
    let violations = check(observed);
    let lost = violations.iter().filter(|it| it.kind == Kind::Premature);
    lost.count()
}

/// Accepted writes whose document or event is not there.
fn lost_writes(observed: &Observed) -> usize {
    let violations = check(observed);
    let is_of_database = |what: &str| what.ends_with("event");
    let lost = violations.iter().filter(|it| it.kind == Kind::Lost);
    lost.filter(|it| is_of_database(it.what)).count()
}
