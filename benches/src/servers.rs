//! MongoDB, NATS and the service as processes, on ports and in a folder of their own.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use async_nats::jetstream;
use mongodb::{Client, Database, options::ClientOptions};
use testbed::{Mongo, Nats, Process, empty, free_ports, local};
use tokio::{sync::Mutex, time::sleep};

use crate::http::{Connection, HOST};

/// As `scripts/services` starts it.
const OF_MONGO: &str = "--wiredTigerCacheSizeGB 0.5 --oplogSize 1024 \
                        --setParameter transactionLifetimeLimitSeconds=15 \
                        --setParameter diagnosticDataCollectionEnabled=false";
const JWT_KEY: &str = "a key for measurements only, 32 b";
const START_DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const STREAM: &str = "BENCH";
/// Of the orders, which the service consumes.
pub(crate) const ORDERS: &str = "BENCH_ORDERS";

impl<'a> Place<'a> {
    pub(crate) fn of(database: &'a str) -> Self {
        Self {
            database,
            stream: STREAM,
            prefix: "",
        }
    }
}

/// MongoDB and NATS, which run, and how the service is started.
pub(crate) struct Servers {
    mongo: Mongo,
    nats: Mutex<Nats>,
    nats_url: String,
    program: PathBuf,
    folder: PathBuf,
    /// How many members MongoDB's replica set has, and NATS' cluster, and the stream replicas.
    pub(crate) nodes: usize,
}

/// The names of what an instance of the service works on.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) database: &'a str,
    pub(crate) stream: &'a str,
    /// Of its subjects, where there are several streams.
    pub(crate) prefix: &'a str,
}

impl Servers {
    /// Starts both with their data in `folder`, which is emptied first.
    pub(crate) async fn start(
        program: PathBuf,
        folder: PathBuf,
        nodes: usize,
    ) -> anyhow::Result<Self> {
        empty(&folder)?;
        let mut mongo = Mongo::in_folder(&folder, nodes, OF_MONGO);
        let mut nats = Nats::in_folder(&folder, nodes);
        mongo.start().await;
        nats.start().await;
        Ok(Self {
            mongo,
            nats_url: nats.url(),
            nats: Mutex::new(nats),
            program,
            folder,
            nodes,
        })
    }

    pub(crate) async fn stop_nats(&self) {
        self.nats.lock().await.kill();
    }

    pub(crate) async fn start_nats(&self) {
        self.nats.lock().await.start().await;
    }

    fn mongo_uri(&self, database: &str) -> String {
        self.mongo.uri().replace("/?", &format!("/{database}?"))
    }

    /// A database of this name, over a pool of `connections`.
    pub(crate) async fn database(&self, name: &str, connections: u32) -> anyhow::Result<Database> {
        let mut options = ClientOptions::parse(self.mongo_uri(name)).await?;
        options.max_pool_size = Some(connections);
        options.max_connecting = Some(8);
        options.write_concern = Some(mongodb::options::WriteConcern::majority());
        options.read_concern = Some(mongodb::options::ReadConcern::majority());
        Ok(Client::with_options(options)?.database(name))
    }

    pub(crate) async fn nats(&self) -> anyhow::Result<async_nats::Client> {
        Ok(async_nats::connect(&self.nats_url).await?)
    }

    pub(crate) async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        Ok(jetstream::new(self.nats().await?))
    }

    /// Starts the service on an empty stream and the database of this name; how long it took to be ready.
    pub(crate) async fn service(&self, database: &str) -> anyhow::Result<(Service, Duration)> {
        drop(self.jetstream().await?.delete_stream(STREAM).await);
        self.instance(Place::of(database)).await
    }

    /// Starts one more instance; how long it took to be ready.
    pub(crate) async fn instance(&self, at: Place<'_>) -> anyhow::Result<(Service, Duration)> {
        let began = Instant::now();
        let service = self.process("serve", at);
        loop {
            if let Ok(mut connection) = service.connect().await
                && connection
                    .send("GET", "/health/ready", "", "")
                    .await?
                    .status
                    == 200
            {
                return Ok((service, began.elapsed()));
            }
            ensure!(began.elapsed() < START_DEADLINE, "the service is not ready");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Starts a process that only consumes orders, into the database of this name.
    pub(crate) fn consumer(&self, database: &str) -> Service {
        self.process("consume", Place::of(database))
    }

    fn process(&self, does: &str, at: Place<'_>) -> Service {
        let ports = free_ports(2);
        let [address, admin] = [ports[0], ports[1]].map(|port| local(port).to_string());
        let mut command = Command::new(&self.program);
        command
            .arg(does)
            .env("MONGO_URI", self.mongo_uri(at.database))
            .env("NATS_URL", &self.nats_url)
            .env("NATS_STREAM", at.stream)
            .env("NATS_SUBJECT_PREFIX", at.prefix)
            .env("NATS_REPLICAS", self.nodes.to_string())
            .env("RESERVATIONS_STREAM", ORDERS)
            .env("JWT_KEY", JWT_KEY)
            .env("LISTEN_ADDR", &address)
            .env("ADMIN_ADDR", &admin)
            .env("ADMIN_HOSTS", HOST)
            .env("RATE_LIMIT", "0")
            .env("WRITE_RATE_LIMIT", "0");
        let log = self.folder.join("service.log");
        let mut process = Process::new("service", command, log);
        process.start();
        Service {
            process,
            address,
            admin,
        }
    }

    /// A user's token that the service itself signs.
    pub(crate) fn token(&self, user: &str) -> anyhow::Result<String> {
        let args = ["token", "--user", user, "--ttl", "1d"];
        let output = Command::new(&self.program)
            .args(args)
            .env("JWT_KEY", JWT_KEY)
            .output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// The running service.
pub(crate) struct Service {
    process: Process,
    address: String,
    /// Where the live page is.
    pub(crate) admin: String,
}

impl Service {
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address).await
    }

    /// Processor time so far, in seconds: user and system, of all threads.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.pid()?)
    }

    /// The same to the nanosecond, of the threads that there are now.
    pub(crate) fn cpu_of_threads(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid()?))? {
            let times = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = times.split_whitespace().next();
            nanoseconds += first
                .context("the scheduler keeps no times")?
                .parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The largest resident set so far, in MiB.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        self.status_mib("VmHWM:")
    }

    /// The resident set now, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        self.status_mib("VmRSS:")
    }

    fn status_mib(&self, name: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib
            .context("no such line of /proc/…/status")?
            .parse::<f64>()?
            / 1024.0)
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.process.pid().context("the service has ended")
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.process.kill()
    }
}

fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    // Fields 14 and 15, counted behind the name, which may hold anything; in hundredths of a second on Linux.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}
