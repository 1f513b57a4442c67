//! NATS with JetStream: one server, or a cluster.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    ports::{free_ports, local},
    process::{Process, program},
    wait::eventually,
};

pub struct Nats {
    // Before their data: killed, they write no more there.
    pub nodes: Vec<Process>,
    pub ports: Vec<u16>,
    pub routes: Vec<u16>,
    /// By node, the addresses by which it reaches the others, where those are not their own.
    pub peers: Vec<Vec<String>>,
    /// More arguments.
    pub args: Vec<OsString>,
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl Nats {
    /// One server of a test's own, which was never started.
    pub fn absent() -> Self {
        let folder = TempDir::new().unwrap();
        let mut nats = Self::in_folder(folder.path(), 1);
        nats._temporary = Some(folder);
        nats
    }

    /// So many, never started, whose data and logs stay in `folder`.
    pub fn in_folder(folder: &Path, nodes: usize) -> Self {
        let mut ports = free_ports(2 * nodes);
        Self {
            nodes: Vec::new(),
            routes: ports.split_off(nodes),
            ports,
            peers: Vec::new(),
            args: Vec::new(),
            folder: folder.to_owned(),
            _temporary: None,
        }
    }

    /// Of the first, as clients are given it.
    pub fn url(&self) -> String {
        format!("nats://{}", local(self.ports[0]))
    }

    /// Starts all of them, on the data that they had before, and waits until each answers.
    pub async fn start(&mut self) {
        self.nodes = (0..self.ports.len()).map(|i| self.node(i)).collect();
        for (node, port) in self.nodes.iter_mut().zip(&self.ports) {
            node.start();
            answers(*port).await;
        }
    }

    fn node(&self, number: usize) -> Process {
        let name = format!("nats-{number}");
        let mut command = Command::new(program("nats-server"));
        let address = "--addr 127.0.0.1 --logtime_utc --jetstream --port".split(' ');
        command.args(address).arg(self.ports[number].to_string());
        command.arg("--store_dir").arg(self.folder.join(&name));
        if self.ports.len() > 1 {
            let url = |port: &u16| format!("nats://{}", local(*port));
            let routes: Vec<String> = self.routes.iter().map(url).collect();
            // Clients keep to the addresses that they were given: those of their links.
            command.args([
                "--server_name",
                &name,
                "--no_advertise",
                "--cluster_name",
                "testbed",
            ]);
            let others = self.peers.get(number).unwrap_or(&routes).join(",");
            command.args(["--cluster", &routes[number], "--routes", &others]);
            if !self.peers.is_empty() {
                // Where nobody listens: the others are not to find a way around.
                command.args(["--cluster_advertise", "127.0.0.1:1"]);
            }
        }
        command.args(&self.args);
        Process::new(&name, command, self.folder.join(format!("{name}.log")))
    }

    /// Starts one of a cluster again where the others do not find it: its clients are connected, and it can do nothing for them.
    pub async fn isolate(&mut self, number: usize) {
        let routes = self.routes.clone();
        self.routes = free_ports(routes.len());
        let mut isolated = self.node(number);
        self.routes = routes;
        self.nodes[number].kill().unwrap();
        isolated.start();
        self.nodes[number] = isolated;
        answers(self.ports[number]).await;
    }

    /// Kill -9: what they acknowledged is in their files.
    pub fn kill(&mut self) {
        self.nodes.clear();
    }

    /// To each of them.
    pub fn signal(&self, signal: &str) {
        self.nodes.iter().for_each(|node| node.signal(signal));
    }
}

async fn answers(port: u16) {
    eventually("nats answers", async || {
        let Ok(connection) = TcpStream::connect(local(port)).await else {
            return false;
        };
        // It greets before it speaks TLS.
        connection.readable().await.is_ok()
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream::{self, stream};

    use super::*;
    use crate::wait::within;

    /// Elections of a cluster take seconds, and more on a busy machine.
    const LIMIT: Duration = Duration::from_secs(50);

    async fn jetstream(nats: &Nats) -> anyhow::Result<jetstream::Context> {
        let mut jetstream = jetstream::new(async_nats::connect(nats.url()).await?);
        // A cluster without a leader yet does not answer.
        jetstream.set_timeout(Duration::from_millis(500));
        Ok(jetstream)
    }

    #[tokio::test]
    async fn a_cluster_of_three_that_is_killed_comes_back_with_its_messages() {
        let folder = TempDir::new().unwrap();
        let mut nats = Nats::in_folder(folder.path(), 3);
        nats.start().await;
        let config = stream::Config {
            name: "THREE".to_owned(),
            num_replicas: 3,
            ..stream::Config::default()
        };
        let store = async || {
            let jetstream = jetstream(&nats).await?;
            jetstream.create_stream(&config).await?;
            Ok(jetstream.publish("THREE", "kept".into()).await?.await?)
        };
        let stored = within(LIMIT, "a message is stored", store).await;
        let stored = stored.unwrap().sequence;

        nats.kill();
        nats.start().await;
        let read = async || {
            let stream = jetstream(&nats).await?.get_stream("THREE").await?;
            Ok(stream.get_raw_message(stored).await?)
        };
        let read = within(LIMIT, "the message is read", read).await;
        assert_eq!(read.unwrap().payload, "kept");
    }
}
