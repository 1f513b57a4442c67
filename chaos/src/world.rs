//! The servers, the instances of the service, and the links between them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::ensure;
use mongodb::{Client, Database};
use serde::Serialize;
use testbed::{Mongo, Nats, Process, empty, free_ports, local, proxy::Link, within};
use tokio::{sync::Mutex, task::JoinSet};

use crate::wiring::{DATABASE, ToMongo, ToNats, instance_name};

pub(crate) const STREAM: &str = "CHAOS";
/// Every instance's.
const SETTINGS: [(&str, &str); 6] = [
    ("NATS_STREAM", STREAM),
    // Short, so that faults outlast it: exactly once must not hang on it.
    ("NATS_DUPLICATE_WINDOW", "2s"),
    ("ADMIN_ADDR", "127.0.0.1:0"),
    ("RATE_LIMIT", "0"),
    ("WRITE_RATE_LIMIT", "0"),
    ("RUST_LOG", "info,async_nats=warn"),
];
/// The oplog is short, for a pause of the publisher to outlast it; it is cut no further than the last checkpoint, hence one
/// every two seconds. What a process that died with a transaction open had locked is free after five.
const OF_MONGO: &str = "--wiredTigerCacheSizeGB 0.25 --oplogSize 48 --syncdelay 2 \
                        --setParameter transactionLifetimeLimitSeconds=5";
const READY_LIMIT: Duration = Duration::from_secs(30);

pub(crate) type Shared = Arc<Mutex<Process>>;

/// How much there is of each.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Size {
    pub(crate) instances: usize,
    pub(crate) mongo: usize,
    pub(crate) nats: usize,
}

impl Size {
    pub(crate) const ONE: Self = Self {
        instances: 1,
        mongo: 1,
        nats: 1,
    };
    pub(crate) const THREE: Self = Self {
        instances: 3,
        mongo: 3,
        nats: 3,
    };
}

pub(crate) struct World {
    pub(crate) mongo: Vec<Shared>,
    pub(crate) nats: Vec<Shared>,
    pub(crate) instances: Vec<Shared>,
    /// Base addresses of the instances.
    pub(crate) addresses: Vec<String>,
    /// By instance, then by server.
    pub(crate) mongo_links: Vec<Vec<Link>>,
    pub(crate) nats_links: Vec<Vec<Link>>,
    /// Past the links, for whoever looks on.
    pub(crate) database: Database,
    pub(crate) nats_urls: Vec<String>,
    program: PathBuf,
    jwt_key: String,
    _proxies: JoinSet<()>,
}

impl World {
    /// Starts everything in `folder`, which is emptied first.
    pub(crate) async fn start(
        size: Size,
        program: &Path,
        folder: &Path,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        empty(folder)?;
        let mut proxies = JoinSet::new();
        let mut nats = Nats::in_folder(folder, size.nats);
        let to_nats = ToNats::new(size.instances, &nats.ports, &mut proxies).await?;
        let mut mongo = Mongo::in_folder(folder, size.mongo, OF_MONGO);
        let to_mongo = ToMongo::new(size.instances, &mongo.ports, &mut proxies).await?;
        mongo.hosts.clone_from(&to_mongo.members);
        nats.start().await;
        mongo.start().await;
        let observer = Client::with_uri_str(to_mongo.uri("observer")).await?;
        let jwt_key = format!("{:032x}", fastrand::u128(..));
        let mut instances = Vec::new();
        let mut addresses = Vec::new();
        for (i, port) in free_ports(size.instances).into_iter().enumerate() {
            let (name, address) = (instance_name(i), local(port).to_string());
            addresses.push(format!("http://{address}"));
            let mut command = Command::new(program);
            command.arg("serve").env_clear().envs(SETTINGS);
            command
                .env("LISTEN_ADDR", &address)
                .env("JWT_KEY", &jwt_key);
            command.env("MONGO_URI", to_mongo.uri(&name));
            command.env("NATS_URL", &to_nats.urls[i]);
            command.env("NATS_REPLICAS", if size.nats > 1 { "3" } else { "1" });
            command.envs(environment.iter().cloned());
            let log = folder.join(format!("{name}.log"));
            let mut process = Process::new(&name, command, log);
            process.start();
            instances.push(shared(process));
        }
        let world = Self {
            mongo: mongo.members.into_iter().map(shared).collect(),
            instances,
            addresses,
            mongo_links: to_mongo.links,
            nats_links: to_nats.links,
            database: observer.database(DATABASE),
            nats_urls: nats
                .ports
                .iter()
                .map(|port| format!("nats://{}", local(*port)))
                .collect(),
            nats: nats.nodes.into_iter().map(shared).collect(),
            program: program.to_owned(),
            jwt_key,
            _proxies: proxies,
        };
        world.ready().await?;
        Ok(world)
    }

    /// Waits until every instance takes writes.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        for address in &self.addresses {
            let ready = format!("{address}/health/ready");
            within(READY_LIMIT, &format!("{address} is ready"), || async {
                let answer = reqwest::get(&ready).await?;
                let status = answer.status();
                ensure!(status == 200, "{ready}: {status}, {}", answer.text().await?);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// A token that the service itself signs.
    pub(crate) fn token(&self, user: &str) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(["token", "--user", user, "--ttl", "1d"])
            .env("JWT_KEY", &self.jwt_key)
            .output()?;
        let says = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no token for {user}: {says}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

fn shared(process: Process) -> Shared {
    Arc::new(Mutex::new(process))
}
