//! The servers, the instances of the service, and the links between them.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use mongodb::{Client, Database};
use tokio::{
    net::TcpListener,
    process::Command,
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    process::Process,
    proxy::{self, Callers, Link},
    servers::{free_ports, initiate, start_mongo, start_nats},
};

pub(crate) const STREAM: &str = "CHAOS";
/// Short, so that faults outlast it: exactly once must not hang on it.
const DUPLICATE_WINDOW: &str = "2s";
const START_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) type Shared = Arc<Mutex<Process>>;

/// How much there is of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) instances: usize,
    pub(crate) mongo: usize,
    pub(crate) nats: usize,
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
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let mut proxies = JoinSet::new();

        let nats_ports = free_ports(size.nats)?;
        let nats = start_nats(servers, folder, &nats_ports)?;
        let mut nats_links = Vec::new();
        let mut nats_urls_of = Vec::new();
        for _ in 0..size.instances {
            let (mut links, mut urls) = (Vec::new(), Vec::new());
            for port in &nats_ports {
                let (link, listener) = (Link::new(), listen().await?);
                urls.push(format!("nats://{}", listener.local_addr()?));
                proxies.spawn(proxy::serve(
                    listener,
                    local(*port),
                    Callers::One(link.clone()),
                ));
                links.push(link);
            }
            nats_links.push(links);
            nats_urls_of.push(urls.join(","));
        }

        let mongo_ports = free_ports(size.mongo)?;
        let (mut members, mut links_to) = (Vec::new(), Vec::new());
        for port in &mongo_ports {
            let links: Vec<_> = (0..size.instances)
                .map(|i| (instance_name(i), Link::new()))
                .collect();
            let listener = listen().await?;
            members.push(listener.local_addr()?.to_string());
            links_to.push(
                links
                    .iter()
                    .map(|(_, link)| link.clone())
                    .collect::<Vec<_>>(),
            );
            proxies.spawn(proxy::serve(listener, local(*port), Callers::Named(links)));
        }
        let mongo_links = (0..size.instances)
            .map(|instance| {
                links_to
                    .iter()
                    .map(|links| links[instance].clone())
                    .collect()
            })
            .collect();
        let mongo = start_mongo(servers, folder, &mongo_ports)?;
        initiate(mongo_ports[0], &members).await?;
        let uri = |name: &str| {
            let hosts = members.join(",");
            format!(
                "mongodb://{hosts}/chaos?replicaSet=chaos&appName={name}&serverSelectionTimeoutMS=3000"
            )
        };
        let database = Client::with_uri_str(uri("observer"))
            .await?
            .database("chaos");

        let jwt_key = format!("{:032x}", fastrand::u128(..));
        let mut instances = Vec::new();
        let mut addresses = Vec::new();
        for (i, (port, nats_url)) in free_ports(size.instances)?
            .into_iter()
            .zip(nats_urls_of)
            .enumerate()
        {
            let name = instance_name(i);
            let address = local(port).to_string();
            addresses.push(format!("http://{address}"));
            let replicas = if size.nats > 1 { "3" } else { "1" };
            let mut variables: Vec<_> = [
                ("MONGO_URI", uri(&name).as_str()),
                ("NATS_URL", &nats_url),
                ("NATS_STREAM", STREAM),
                ("NATS_REPLICAS", replicas),
                ("NATS_DUPLICATE_WINDOW", DUPLICATE_WINDOW),
                ("JWT_KEY", &jwt_key),
                ("LISTEN_ADDR", &address),
                ("ADMIN_ADDR", "127.0.0.1:0"),
                ("RATE_LIMIT", "0"),
                ("RUST_LOG", "info,async_nats=warn"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            variables.extend_from_slice(environment);
            let log = folder.join(format!("{name}.log"));
            let mut process = Process::new(
                name,
                program.to_owned(),
                vec!["serve".to_owned()],
                variables,
                log,
            );
            process.start()?;
            instances.push(shared(process));
        }
        let world = Self {
            mongo: mongo.into_iter().map(shared).collect(),
            nats: nats.into_iter().map(shared).collect(),
            instances,
            addresses,
            mongo_links,
            nats_links,
            database,
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
            until("an instance is ready", async || {
                let answer = reqwest::get(&ready).await?;
                let status = answer.status();
                ensure!(status == 200, "{ready}: {status}, {}", answer.text().await?);
                Ok(true)
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
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// Looks again and again until it is so.
pub(crate) async fn until(
    what: &str,
    is_so: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let so_far = is_so().await;
        if matches!(so_far, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            so_far.with_context(|| format!("not within {START_DEADLINE:?}: {what}"))?;
            bail!("not within {START_DEADLINE:?}: {what}");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn instance_name(number: usize) -> String {
    format!("instance-{number}")
}

fn shared(process: Process) -> Shared {
    Arc::new(Mutex::new(process))
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn listen() -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind(local(0)).await?)
}
