//! MongoDB as a replica set, of one member or several.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::ensure;
use bson::{Document, doc};
use mongodb::Client;
use tempfile::TempDir;

use crate::{
    ports::{free_ports, local},
    process::{Process, program},
    wait::within,
};

const START_LIMIT: Duration = Duration::from_secs(60);
/// Fail points are test commands.
const OF_TESTS: &str = "--wiredTigerCacheSizeGB 0.25 --setParameter enableTestCommands=1";

pub struct Mongo {
    // Before their data: killed, they write no more there.
    pub members: Vec<Process>,
    pub ports: Vec<u16>,
    /// By these addresses the members and their clients know the members.
    pub hosts: Vec<String>,
    /// More arguments.
    pub args: Vec<OsString>,
    /// More of the connection string: `user:password@`, and options that begin with `&`.
    pub login: String,
    pub options: String,
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl Mongo {
    /// A replica set of one, a test's own, which was never started.
    pub fn absent() -> Self {
        Self::absent_set(1)
    }

    /// A replica set of so many members, a test's own, which was never started.
    pub fn absent_set(members: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let mut mongo = Self::in_folder(folder.path(), members, OF_TESTS);
        mongo._temporary = Some(folder);
        mongo
    }

    /// A replica set of so many members, never started, whose data and logs stay in `folder`.
    pub fn in_folder(folder: &Path, members: usize, args: &str) -> Self {
        let ports = free_ports(members);
        Self {
            members: Vec::new(),
            hosts: ports.iter().map(|port| local(*port).to_string()).collect(),
            ports,
            args: args.split_whitespace().map(Into::into).collect(),
            login: String::new(),
            options: String::new(),
            folder: folder.to_owned(),
            _temporary: None,
        }
    }

    pub fn uri(&self) -> String {
        let (login, hosts, options) = (&self.login, self.hosts.join(","), &self.options);
        format!("mongodb://{login}{hosts}/?replicaSet=rs0{options}")
    }

    /// Starts all members, on the data that they had before, and waits until one is the primary and takes writes, and the
    /// others are secondaries.
    pub async fn start(&mut self) {
        self.members = (0..self.ports.len()).map(|i| self.member(i)).collect();
        self.members.iter_mut().for_each(Process::start);
        let mut members = Vec::new();
        for port in &self.ports {
            let host = local(*port);
            let options = format!(
                "directConnection=true&serverSelectionTimeoutMS=500{}",
                self.options
            );
            let client = Client::with_uri_str(format!("mongodb://{host}/?{options}"));
            members.push(client.await.unwrap().database("admin"));
        }
        let set = self.set();
        within(START_LIMIT, "the replica set has a primary", || async {
            drop(
                members[0]
                    .run_command(doc! { "replSetInitiate": set.clone() })
                    .await,
            );
            let mut primaries = 0;
            for member in &members {
                let hello = member.run_command(doc! { "hello": 1 }).await?;
                let is_primary = hello.get_bool("isWritablePrimary")?;
                ensure!(is_primary || hello.get_bool("secondary")?, "{hello}");
                primaries += usize::from(is_primary);
            }
            ensure!(primaries == 1, "there are {primaries}");
            Ok(())
        })
        .await
        .unwrap();
    }

    fn set(&self) -> Document {
        let members = (0_i32..).zip(&self.hosts);
        let members: Vec<Document> = members
            .map(|(id, host)| doc! { "_id": id, "host": host })
            .collect();
        let settings = doc! { "electionTimeoutMillis": 2_000, "heartbeatIntervalMillis": 500 };
        doc! { "_id": "rs0", "members": members, "settings": settings }
    }

    fn member(&self, number: usize) -> Process {
        let name = format!("mongo-{number}");
        let data = self.folder.join(&name);
        fs::create_dir_all(&data).unwrap();
        let mut command = Command::new(program("mongod"));
        let address = "--bind_ip 127.0.0.1 --nounixsocket --replSet rs0 --port".split(' ');
        command.args(address).arg(self.ports[number].to_string());
        command.arg("--dbpath").arg(data).args(&self.args);
        Process::new(&name, command, self.folder.join(format!("{name}.log")))
    }

    /// Kill -9: what it acknowledged is in its files.
    pub fn kill(&mut self) {
        self.members.clear();
    }

    /// To each of them.
    pub fn signal(&self, signal: &str) {
        self.members.iter().for_each(|member| member.signal(signal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inserts one more document; how many there are then.
    async fn inserted(mongo: &Mongo) -> u64 {
        let client = Client::with_uri_str(mongo.uri()).await.unwrap();
        let two = client.database("test").collection::<Document>("two");
        two.insert_one(doc! {}).await.unwrap();
        two.count_documents(doc! {}).await.unwrap()
    }

    #[tokio::test]
    async fn a_set_of_two_that_is_killed_comes_back_with_its_documents() {
        let mut mongo = Mongo::absent_set(2);
        mongo.start().await;
        assert_eq!(inserted(&mongo).await, 1);

        mongo.kill();
        mongo.start().await;
        assert_eq!(inserted(&mongo).await, 2);
    }
}
