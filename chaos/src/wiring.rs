//! The links between instances and servers, each through a proxy, and the addresses that the instances are given.

use testbed::{
    local,
    proxy::{Callers, Link, serve},
};
use tokio::{net::TcpListener, task::JoinSet};

/// Each instance has proxies of its own.
pub(crate) struct ToNats {
    /// By instance, then by server.
    pub(crate) links: Vec<Vec<Link>>,
    /// By instance.
    pub(crate) urls: Vec<String>,
}

impl ToNats {
    pub(crate) async fn new(
        instances: usize,
        ports: &[u16],
        proxies: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let (mut links_of, mut urls_of) = (Vec::new(), Vec::new());
        for _ in 0..instances {
            let (mut links, mut urls) = (Vec::new(), Vec::new());
            for port in ports {
                let (link, listener) = (Link::default(), listen().await?);
                urls.push(format!("nats://{}", listener.local_addr()?));
                let callers = Callers::One(link.clone());
                proxies.spawn(serve(listener, local(*port), callers));
                links.push(link);
            }
            links_of.push(links);
            urls_of.push(urls.join(","));
        }
        Ok(Self {
            links: links_of,
            urls: urls_of,
        })
    }
}

/// Between the members of a cluster: by the one that connects, then by the one that it connects to.
pub(crate) type Pairs = Vec<Vec<Link>>;

/// The links between the members of the NATS cluster, and the addresses by which each reaches the others.
pub(crate) struct NatsPeers {
    pub(crate) links: Pairs,
    pub(crate) urls: Vec<Vec<String>>,
}

impl NatsPeers {
    pub(crate) async fn new(routes: &[u16], proxies: &mut JoinSet<()>) -> anyhow::Result<Self> {
        let (mut links, mut urls) = (Vec::new(), Vec::new());
        for from in routes {
            let (mut links_of, mut urls_of) = (Vec::new(), Vec::new());
            for to in routes {
                let (link, listener) = (Link::default(), listen().await?);
                if from != to {
                    urls_of.push(format!("nats://{}", listener.local_addr()?));
                    let callers = Callers::One(link.clone());
                    proxies.spawn(serve(listener, local(*to), callers));
                }
                links_of.push(link);
            }
            links.push(links_of);
            urls.push(urls_of);
        }
        Ok(Self { links, urls })
    }
}

/// All share the proxies, whose addresses are the members': a replica set tells its clients where it is.
pub(crate) struct ToMongo {
    /// By instance, then by server.
    pub(crate) links: Vec<Vec<Link>>,
    /// Between the members, which tell their own ports to each other (with test commands they do).
    pub(crate) pairs: Pairs,
    pub(crate) members: Vec<String>,
}

impl ToMongo {
    pub(crate) async fn new(
        instances: &[String],
        ports: &[u16],
        proxies: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let mut links = vec![Vec::new(); instances.len()];
        let (mut members, mut pairs) = (Vec::new(), vec![Vec::new(); ports.len()]);
        for port in ports {
            let listener = listen().await?;
            members.push(listener.local_addr()?.to_string());
            let mut named = Vec::new();
            for (name, links) in instances.iter().zip(&mut links) {
                let link = Link::default();
                named.push((name.clone(), link.clone()));
                links.push(link);
            }
            for (from, pairs) in ports.iter().zip(&mut pairs) {
                let link = Link::default();
                named.push((format!(":{from}\0"), link.clone()));
                pairs.push(link);
            }
            proxies.spawn(serve(listener, local(*port), Callers::Named(named)));
        }
        Ok(Self {
            links,
            pairs,
            members,
        })
    }

    /// `name` tells the proxies whose connection it is.
    pub(crate) fn uri(&self, name: &str, database: &str) -> String {
        let hosts = self.members.join(",");
        format!(
            "mongodb://{hosts}/{database}?replicaSet=rs0&appName={name}&serverSelectionTimeoutMS=3000"
        )
    }
}

async fn listen() -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind(local(0)).await?)
}
