//! MongoDB, NATS and the service as processes, started by `scripts/services` on ports of their own.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use async_nats::jetstream;
use mongodb::{Client, Database, options::ClientOptions};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::http::Connection;

const MONGO_PORT: &str = "37017";
const NATS_PORT: &str = "34222";
const SERVICE: &str = "127.0.0.1:33000";
const JWT_KEY: &str = "a key for measurements only, 32 b";
const START_DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const STREAM: &str = "BENCH";

/// MongoDB and NATS.
pub(crate) struct Servers {
    folder: PathBuf,
    program: PathBuf,
}

impl Servers {
    /// Starts both with empty folders.
    pub(crate) async fn start(program: PathBuf, folder: PathBuf) -> anyhow::Result<Self> {
        let servers = Self { folder, program };
        servers.stop().await?;
        for data in [format!("mongo-{MONGO_PORT}"), format!("nats-{NATS_PORT}")] {
            let data = servers.folder.join(data);
            if data.exists() {
                fs::remove_dir_all(data)?;
            }
        }
        servers.script(["start", "mongo"]).await?;
        servers.script(["start", "nats"]).await?;
        Ok(servers)
    }

    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.script(["stop", "mongo"]).await?;
        self.stop_nats().await
    }

    pub(crate) async fn stop_nats(&self) -> anyhow::Result<()> {
        self.script(["stop", "nats"]).await
    }

    pub(crate) async fn start_nats(&self) -> anyhow::Result<()> {
        self.script(["start", "nats"]).await
    }

    async fn script(&self, args: [&str; 2]) -> anyhow::Result<()> {
        let output = Command::new("scripts/services")
            .args(args)
            .env("MONGO_PORT", MONGO_PORT)
            .env("NATS_PORT", NATS_PORT)
            .env("SERVICES_DIR", &self.folder)
            .output()
            .await?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "scripts/services {args:?} failed: {told}"
        );
        Ok(())
    }

    /// A database of this name, over a pool of `connections`.
    pub(crate) async fn database(&self, name: &str, connections: u32) -> anyhow::Result<Database> {
        let mut options = ClientOptions::parse(mongo_uri(name)).await?;
        options.max_pool_size = Some(connections);
        options.max_connecting = Some(8);
        options.write_concern = Some(mongodb::options::WriteConcern::majority());
        options.read_concern = Some(mongodb::options::ReadConcern::majority());
        Ok(Client::with_options(options)?.database(name))
    }

    pub(crate) async fn nats(&self) -> anyhow::Result<async_nats::Client> {
        Ok(async_nats::connect(format!("127.0.0.1:{NATS_PORT}")).await?)
    }

    pub(crate) async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        Ok(jetstream::new(self.nats().await?))
    }

    /// Starts the service on an empty stream and the database of this name; how long it took to be ready.
    pub(crate) async fn service(&self, database: &str) -> anyhow::Result<(Service, Duration)> {
        drop(self.jetstream().await?.delete_stream(STREAM).await);
        let began = Instant::now();
        let child = Command::new(&self.program)
            .arg("serve")
            .env("MONGO_URI", mongo_uri(database))
            .env("NATS_URL", format!("nats://127.0.0.1:{NATS_PORT}"))
            .env("NATS_STREAM", STREAM)
            .env("JWT_KEY", JWT_KEY)
            .env("LISTEN_ADDR", SERVICE)
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("RATE_LIMIT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.join("service.log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let service = Service { child };
        loop {
            if let Ok(mut connection) = Connection::open(SERVICE).await
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

    /// A token that the service itself signs.
    pub(crate) async fn token(&self) -> anyhow::Result<String> {
        let args = ["token", "--user", "bench", "--ttl", "1d"];
        let output = Command::new(&self.program)
            .args(args)
            .env("JWT_KEY", JWT_KEY)
            .output()
            .await?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

fn mongo_uri(database: &str) -> String {
    format!("mongodb://127.0.0.1:{MONGO_PORT}/{database}?replicaSet=rs0")
}

/// The running service.
pub(crate) struct Service {
    child: Child,
}

impl Service {
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(SERVICE).await
    }

    /// Processor time so far, in seconds: user and system, of all threads.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.pid()?)
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
        self.child.id().context("the service has ended")
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
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
