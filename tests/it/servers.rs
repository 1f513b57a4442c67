//! Servers of a test's own, to be killed and started again.

use std::{
    ffi::OsString,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use bson::doc;
use mongodb::Client;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::harness::eventually;

pub(crate) fn program(name: &str) -> PathBuf {
    let services = std::env::var_os("SERVICES_DIR").unwrap_or_else(|| ".services".into());
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(services)
        .join("bin")
        .join(name)
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A process that is killed when the test ends.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.0.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A NATS server with JetStream.
pub(crate) struct Nats {
    port: u16,
    data: TempDir,
    process: Option<Process>,
    /// More arguments.
    pub(crate) args: Vec<OsString>,
}

impl Nats {
    /// One that was never started, and its address.
    pub(crate) fn absent() -> Self {
        Self {
            port: free_port(),
            data: TempDir::new().unwrap(),
            process: None,
            args: Vec::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(program("nats-server"));
        command.args([
            "--addr",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
            "--jetstream",
            "--store_dir",
        ]);
        command
            .arg(self.data.path())
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.process = Some(Process::spawn(&mut command));
        eventually("nats answers", async || {
            let address = ("127.0.0.1", self.port);
            let Ok(connection) = TcpStream::connect(address).await else {
                return false;
            };
            // It greets before it speaks TLS.
            connection.readable().await.is_ok()
        })
        .await;
    }

    /// Kill -9: what it acknowledged is in its files.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.as_ref().unwrap().signal(signal);
    }
}

/// A replica set of one.
pub(crate) struct Mongo {
    port: u16,
    data: TempDir,
    process: Option<Process>,
    /// More arguments.
    pub(crate) args: Vec<OsString>,
    /// More of the connection string: `user:password@`, and options that begin with `&`.
    pub(crate) login: String,
    pub(crate) options: String,
}

impl Mongo {
    pub(crate) fn absent() -> Self {
        Self {
            port: free_port(),
            data: TempDir::new().unwrap(),
            process: None,
            args: Vec::new(),
            login: String::new(),
            options: String::new(),
        }
    }

    pub(crate) fn uri(&self) -> String {
        let Self {
            port,
            login,
            options,
            ..
        } = self;
        format!("mongodb://{login}127.0.0.1:{port}/?replicaSet=rs0{options}")
    }

    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(program("mongod"));
        command.args([
            "--bind_ip",
            "127.0.0.1",
            "--replSet",
            "rs0",
            "--wiredTigerCacheSizeGB",
            "0.25",
        ]);
        command
            .args([
                "--nounixsocket",
                "--setParameter",
                "enableTestCommands=1",
                "--port",
                &self.port.to_string(),
                "--dbpath",
            ])
            .arg(self.data.path())
            .args(&self.args);
        self.process = Some(Process::spawn(
            command.stdout(Stdio::null()).stderr(Stdio::null()),
        ));
        let direct = format!(
            "mongodb://127.0.0.1:{}/?directConnection=true&serverSelectionTimeoutMS=500{}",
            self.port, self.options
        );
        let client = Client::with_uri_str(direct).await.unwrap();
        let admin = client.database("admin");
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port) };
        let initiate = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
        eventually("the replica set has a primary", async || {
            drop(admin.run_command(initiate.clone()).await);
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap())
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.as_ref().unwrap().signal(signal);
    }
}
