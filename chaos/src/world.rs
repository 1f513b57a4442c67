//! The servers, the instances of the service, and the links between them.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bson::{Document, doc};
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
};

pub(crate) const STREAM: &str = "CHAOS";
/// Short, so that faults outlast it: exactly once must not hang on it.
const DUPLICATE_WINDOW: &str = "2s";
const OPLOG_MIB: u32 = 48;
/// The oplog is cut no further than the last checkpoint, by default of a minute ago.
const CHECKPOINT_SECONDS: u32 = 2;
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

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn listen() -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind(local(0)).await?)
}

/// All are bound at once, so that no two are the same.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let bound: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind(local(0)))
        .collect::<Result<_, _>>()?;
    Ok(bound
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<_>>()?)
}

fn start_nats(servers: &Path, folder: &Path, ports: &[u16]) -> anyhow::Result<Vec<Process>> {
    let routes = free_ports(ports.len())?;
    let all: Vec<String> = routes
        .iter()
        .map(|port| format!("nats://{}", local(*port)))
        .collect();
    let mut nodes = Vec::new();
    for (i, (port, route)) in ports.iter().zip(&routes).enumerate() {
        let name = format!("nats-{i}");
        let data = folder.join(&name);
        let config = folder.join(format!("{name}.conf"));
        let cluster = match ports.len() {
            1 => String::new(),
            // Clients keep to the addresses that they were given: those of their links.
            _ => format!(
                "cluster {{ name: chaos, listen: \"{}\", routes: {all:?}, no_advertise: true }}\n",
                local(*route)
            ),
        };
        let text = format!(
            "server_name: {name}\nlisten: \"{}\"\njetstream {{ store_dir: {data:?} }}\n{cluster}",
            local(*port)
        );
        fs::write(&config, text)?;
        let args = vec!["-c".to_owned(), config.display().to_string()];
        let log = folder.join(format!("{name}.log"));
        let mut node = Process::new(name, servers.join("nats-server"), args, Vec::new(), log);
        node.start()?;
        nodes.push(node);
    }
    Ok(nodes)
}

fn start_mongo(servers: &Path, folder: &Path, ports: &[u16]) -> anyhow::Result<Vec<Process>> {
    let mut members = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let name = format!("mongo-{i}");
        let data = folder.join(&name);
        fs::create_dir_all(&data)?;
        let args = format!(
            "--bind_ip 127.0.0.1 --port {port} --replSet chaos --oplogSize {OPLOG_MIB} --syncdelay {CHECKPOINT_SECONDS} --wiredTigerCacheSizeGB 0.25 --nounixsocket --dbpath"
        );
        let mut args: Vec<_> = args.split(' ').map(str::to_owned).collect();
        args.push(data.display().to_string());
        let log = folder.join(format!("{name}.log"));
        let mut member = Process::new(name, servers.join("mongod"), args, Vec::new(), log);
        member.start()?;
        members.push(member);
    }
    Ok(members)
}

/// The members know each other, and clients know them, by the addresses of the proxies.
async fn initiate(first: u16, members: &[String]) -> anyhow::Result<()> {
    let uri = format!(
        "mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=1000",
        local(first)
    );
    let admin = Client::with_uri_str(uri).await?.database("admin");
    let members: Vec<Document> = (0_i32..)
        .zip(members)
        .map(|(id, host)| doc! { "_id": id, "host": host })
        .collect();
    let settings = doc! { "electionTimeoutMillis": 2_000, "heartbeatIntervalMillis": 500 };
    let config = doc! { "_id": "chaos", "members": members, "settings": settings };
    until("the replica set has a primary", async || {
        drop(
            admin
                .run_command(doc! { "replSetInitiate": config.clone() })
                .await,
        );
        is_whole(&admin).await
    })
    .await
}

/// Whether each member is the primary or a secondary: none recovers, starts or is away.
pub(crate) async fn is_whole(admin: &Database) -> anyhow::Result<bool> {
    let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await?;
    let members = status.get_array("members")?;
    let is = |state: &str| {
        let of = members.iter().filter_map(|member| member.as_document());
        of.filter(|member| member.get_str("stateStr").is_ok_and(|is| is == state))
            .count()
    };
    Ok(is("PRIMARY") == 1 && is("PRIMARY") + is("SECONDARY") == members.len())
}
