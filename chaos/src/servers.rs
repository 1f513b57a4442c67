//! MongoDB and NATS: their command lines, and the replica set.

use std::{fs, path::Path, time::Duration};

use anyhow::ensure;
use bson::{Document, doc};
use mongodb::{Client, Database};

use crate::{clock::within, process::Process, world::local};

const OPLOG_MIB: u32 = 48;
/// What a process that died with a transaction open had locked is free after this.
const TRANSACTION_SECONDS: u32 = 5;
const START_LIMIT: Duration = Duration::from_secs(60);
/// The oplog is cut no further than the last checkpoint, by default of a minute ago.
const CHECKPOINT_SECONDS: u32 = 2;

/// All are bound at once, so that no two are the same.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let bound: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind(local(0)))
        .collect::<Result<_, _>>()?;
    Ok(bound
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<_>>()?)
}

pub(crate) fn start_nats(
    servers: &Path,
    folder: &Path,
    ports: &[u16],
) -> anyhow::Result<Vec<Process>> {
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

pub(crate) fn start_mongo(
    servers: &Path,
    folder: &Path,
    ports: &[u16],
) -> anyhow::Result<Vec<Process>> {
    let mut members = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let name = format!("mongo-{i}");
        let data = folder.join(&name);
        fs::create_dir_all(&data)?;
        let args = format!(
            "--bind_ip 127.0.0.1 --port {port} --replSet chaos --oplogSize {OPLOG_MIB} --syncdelay {CHECKPOINT_SECONDS} --wiredTigerCacheSizeGB 0.25 --setParameter transactionLifetimeLimitSeconds={TRANSACTION_SECONDS} --nounixsocket --dbpath"
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
pub(crate) async fn initiate(first: u16, members: &[String]) -> anyhow::Result<()> {
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
    within(START_LIMIT, "the replica set has a primary", || async {
        let initiate = doc! { "replSetInitiate": config.clone() };
        drop(admin.run_command(initiate).await);
        is_whole(&admin).await
    })
    .await
}

/// Each member is the primary or a secondary: none recovers, starts or is away.
///
/// # Errors
/// When it is not so.
pub(crate) async fn is_whole(admin: &Database) -> anyhow::Result<()> {
    let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await?;
    let members = status.get_array("members")?;
    let states: Vec<_> = members
        .iter()
        .filter_map(|member| member.as_document()?.get_str("stateStr").ok())
        .collect();
    let is = |state: &str| states.iter().filter(|is| **is == state).count();
    ensure!(
        is("PRIMARY") == 1 && is("PRIMARY") + is("SECONDARY") == members.len(),
        "the members are {states:?}"
    );
    Ok(())
}
