//! The servers, the instances of the service, and the links between them.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::ensure;
use mongodb::{Client, Database};
use serde::Serialize;
use tokio::{process::Command, sync::Mutex, task::JoinSet};

use crate::{
    clock::within,
    process::Process,
    proxy::Link,
    servers::{free_ports, initiate, start_mongo, start_nats},
    wiring::{ToMongo, ToNats},
};

pub(crate) const STREAM: &str = "CHAOS";
pub(crate) const DATABASE: &str = "chaos";
/// Every instance's.
const SETTINGS: [(&str, &str); 5] = [
    ("NATS_STREAM", STREAM),
    // Short, so that faults outlast it: exactly once must not hang on it.
    ("NATS_DUPLICATE_WINDOW", "2s"),
    ("ADMIN_ADDR", "127.0.0.1:0"),
    ("RATE_LIMIT", "0"),
    ("RUST_LOG", "info,async_nats=warn"),
];
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
        servers: &Path,
        folder: &Path,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        empty(folder)?;
        let mut proxies = JoinSet::new();
        let nats_ports = free_ports(size.nats)?;
        let nats = start_nats(servers, folder, &nats_ports)?;
        let to_nats = ToNats::new(size.instances, &nats_ports, &mut proxies).await?;
        let mongo_ports = free_ports(size.mongo)?;
        let to_mongo = ToMongo::new(size.instances, &mongo_ports, &mut proxies).await?;
        let mongo = start_mongo(servers, folder, &mongo_ports)?;
        initiate(mongo_ports[0], &to_mongo.members).await?;
        let observer = Client::with_uri_str(to_mongo.uri("observer")).await?;
        let jwt_key = format!("{:032x}", fastrand::u128(..));
        let mut instances = Vec::new();
        let mut addresses = Vec::new();
        for (i, port) in free_ports(size.instances)?.into_iter().enumerate() {
            let (name, address) = (instance_name(i), local(port).to_string());
            addresses.push(format!("http://{address}"));
            let of_this_one = [
                ("LISTEN_ADDR", address.as_str()),
                ("MONGO_URI", &to_mongo.uri(&name)),
                ("NATS_URL", &to_nats.urls[i]),
                ("NATS_REPLICAS", if size.nats > 1 { "3" } else { "1" }),
                ("JWT_KEY", &jwt_key),
            ];
            let mut variables = owned(&of_this_one);
            variables.extend(owned(&SETTINGS));
            variables.extend_from_slice(environment);
            let log = folder.join(format!("{name}.log"));
            let args = vec!["serve".to_owned()];
            let mut process = Process::new(name, program.to_owned(), args, variables, log);
            process.start()?;
            instances.push(shared(process));
        }
        let world = Self {
            mongo: mongo.into_iter().map(shared).collect(),
            nats: nats.into_iter().map(shared).collect(),
            instances,
            addresses,
            mongo_links: to_mongo.links,
            nats_links: to_nats.links,
            database: observer.database(DATABASE),
            nats_urls: nats_ports
                .iter()
                .map(|port| format!("nats://{}", local(*port)))
                .collect(),
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
    pub(crate) async fn token(&self, user: &str) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(["token", "--user", user, "--ttl", "1d"])
            .env("JWT_KEY", &self.jwt_key)
            .output()
            .await?;
        let says = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no token for {user}: {says}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

pub(crate) fn instance_name(number: usize) -> String {
    format!("instance-{number}")
}

fn empty(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
}

fn shared(process: Process) -> Shared {
    Arc::new(Mutex::new(process))
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = variables.iter();
    owned
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
