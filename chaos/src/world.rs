//! The servers, the instances of the service, and the links between them.

mod instances;
mod operator;

use std::{ffi::OsString, iter, path::Path, sync::Arc, time::Duration};

use anyhow::ensure;
use mongodb::{Client, Database};
use serde::Serialize;
use testbed::{Image, Mongo, Mount, Nats, Process, empty, local, proxy::Link, within};
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    domain,
    wiring::{NatsPeers, Pairs, ToMongo, ToNats},
};
use instances::{Instances, Setup};
pub(crate) use operator::Outbox;

/// The oplog is short, for a pause of the publisher to outlast it; it is cut no further than the last checkpoint, hence one
/// every two seconds. What a process that died with a transaction open had locked is free after five. With test commands a member tells
/// the others who it is, for the links between them.
const OF_MONGO: &str = "--wiredTigerCacheSizeGB 0.25 --oplogSize 48 --syncdelay 2 \
                        --setParameter transactionLifetimeLimitSeconds=5 --setParameter enableTestCommands=1";
const READY_LIMIT: Duration = Duration::from_secs(30);
/// The file systems of the first member of each kind, where there are disks to fill.
const MONGO_MEGABYTES: u32 = 1_000;
const NATS_MEGABYTES: u32 = 256;
/// Files with holes: they take what is written.
const IMAGE_MEGABYTES: u64 = 1_500;

pub(crate) type Shared = Arc<Mutex<Process>>;

/// How much there is of each; of instances, for each service.
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

    /// Two instances of each service.
    pub(crate) const fn of_the_loop(self) -> Self {
        Self {
            instances: 2,
            ..self
        }
    }
}

/// What a world is made of.
pub(crate) struct Plan<'a> {
    pub(crate) size: Size,
    pub(crate) program: &'a Path,
    /// The other service's, where there is one.
    pub(crate) orders: Option<&'a Path>,
    /// For data and logs.
    pub(crate) folder: &'a Path,
    /// More variables of the service's.
    pub(crate) environment: &'a [(String, String)],
    pub(crate) disks: Disks,
    /// More arguments of NATS.
    pub(crate) nats_args: Vec<OsString>,
}

impl Plan<'_> {
    /// The services, by their programs.
    fn services(&self) -> Vec<(&Path, domain::Service)> {
        let orders = self.orders.map(|program| (program, domain::ORDERS));
        let tickets = (self.program, domain::TICKETS);
        iter::once(tickets).chain(orders).collect()
    }

    fn small_disk(&self, name: &str, megabytes: u32) -> anyhow::Result<Option<Mount>> {
        let mount = || Mount::new(&self.folder.join(name), megabytes);
        (self.disks == Disks::Small).then(mount).transpose()
    }

    fn images(&self, kind: &str, count: usize) -> anyhow::Result<Vec<Image>> {
        let count = if self.disks == Disks::Images {
            count
        } else {
            0
        };
        let image = |i| Image::new(&self.folder.join(format!("{kind}-{i}")), IMAGE_MEGABYTES);
        (0..count).map(image).collect()
    }
}

/// Where the servers keep their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disks {
    /// In the folder.
    Plain,
    /// The first member of each kind on one that can be filled.
    Small,
    /// Each on one that can lose its power.
    Images,
}

pub(crate) struct World {
    pub(crate) mongo: Vec<Shared>,
    pub(crate) nats: Vec<Shared>,
    /// Of all services, and their names.
    pub(crate) instances: Vec<Shared>,
    pub(crate) names: Vec<String>,
    /// Base addresses of the instances.
    pub(crate) addresses: Vec<String>,
    /// The other service, where it is a real one.
    pub(crate) sibling: Option<Sibling>,
    /// By instance, then by server.
    pub(crate) mongo_links: Vec<Vec<Link>>,
    pub(crate) nats_links: Vec<Vec<Link>>,
    pub(crate) mongo_pairs: Pairs,
    pub(crate) nats_pairs: Pairs,
    /// Of the first member of each kind.
    pub(crate) mongo_disk: Option<Mount>,
    pub(crate) nats_disk: Option<Mount>,
    /// By their order.
    pub(crate) mongo_images: Vec<Image>,
    pub(crate) nats_images: Vec<Image>,
    /// Past the links, for whoever looks on.
    pub(crate) database: Database,
    /// Of each service.
    pub(crate) outboxes: Vec<Outbox>,
    pub(crate) nats_urls: Vec<String>,
    pub(crate) mongo_ports: Vec<u16>,
    jwt_key: String,
    _proxies: JoinSet<()>,
}

/// Another service beside the one that is judged first.
pub(crate) struct Sibling {
    pub(crate) addresses: Vec<String>,
    pub(crate) database: Database,
}

impl Sibling {
    fn new(addresses: Vec<String>, observer: &Client) -> Self {
        Self {
            addresses,
            database: observer.database(domain::ORDERS.database),
        }
    }
}

impl World {
    /// Starts everything in the plan's folder, which is emptied first.
    pub(crate) async fn start(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let Plan { size, folder, .. } = *plan;
        empty(folder)?;
        let mongo_images = plan.images("mongo", size.mongo)?;
        let nats_images = plan.images("nats", size.nats)?;
        let mongo_disk = plan.small_disk("mongo-0", MONGO_MEGABYTES)?;
        let nats_disk = plan.small_disk("nats-0", NATS_MEGABYTES)?;
        let mut proxies = JoinSet::new();
        let mut nats = Nats::in_folder(folder, size.nats);
        nats.args.clone_from(&plan.nats_args);
        let names = instances::names(plan);
        let to_nats = ToNats::new(names.len(), &nats.ports, &mut proxies).await?;
        let nats_peers = NatsPeers::new(&nats.routes, &mut proxies).await?;
        let mut mongo = Mongo::in_folder(folder, size.mongo, OF_MONGO);
        let to_mongo = ToMongo::new(&names, &mongo.ports, &mut proxies).await?;
        mongo.hosts.clone_from(&to_mongo.members);
        nats.peers = nats_peers.urls;
        nats.start().await;
        mongo.start().await;
        let observer_uri = |database: &str| to_mongo.uri("observer", database);
        let observer = Client::with_uri_str(&observer_uri(domain::TICKETS.database)).await?;
        let jwt_key = format!("{:032x}", fastrand::u128(..));
        let setup = Setup {
            plan,
            names: &names,
            jwt_key: &jwt_key,
            to_mongo: &to_mongo,
            to_nats: &to_nats,
        };
        let mut instances = Instances::start(&setup);
        let others = instances.addresses.split_off(size.instances);
        let sibling = plan.orders.map(|_| Sibling::new(others, &observer));
        let url = |port: &u16| format!("nats://{}", local(*port));
        let nats_urls: Vec<String> = nats.ports.iter().map(url).collect();
        let outbox = |(program, service): (&Path, domain::Service)| Outbox {
            service,
            database: observer.database(service.database),
            program: program.to_owned(),
            mongo_uri: observer_uri(service.database),
            nats_url: nats_urls.join(","),
        };
        let outboxes = plan.services().into_iter().map(outbox).collect();
        let world = Self {
            instances: instances.processes.into_iter().map(shared).collect(),
            addresses: instances.addresses,
            names,
            sibling,
            mongo_links: to_mongo.links,
            nats_links: to_nats.links,
            mongo_pairs: to_mongo.pairs,
            nats_pairs: nats_peers.links,
            mongo_disk,
            nats_disk,
            mongo_images,
            nats_images,
            database: observer.database(domain::TICKETS.database),
            outboxes,
            nats_urls,
            nats: nats.nodes.into_iter().map(shared).collect(),
            mongo_ports: mongo.ports,
            mongo: mongo.members.into_iter().map(shared).collect(),
            jwt_key,
            _proxies: proxies,
        };
        world.ready().await?;
        Ok(world)
    }

    /// Of the service that is judged first.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outboxes[0]
    }

    /// Of one service or the other.
    pub(crate) fn outbox_of(&self, target: usize) -> &Outbox {
        &self.outboxes[target % self.outboxes.len()]
    }

    /// Waits until every instance takes writes.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let others = self.sibling.iter().flat_map(|it| &it.addresses);
        for address in self.addresses.iter().chain(others) {
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
}

fn shared(process: Process) -> Shared {
    Arc::new(Mutex::new(process))
}
