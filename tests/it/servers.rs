//! Servers of a test's own, to be killed and started again.

use std::{
    ffi::OsString,
    fs::File,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use bson::doc;
use mongodb::{Client, Database};
use tempfile::{NamedTempFile, TempDir};
use tokio::net::TcpStream;

use crate::harness::{DEADLINE, eventually, look_for_servers};

pub(crate) fn program(name: &str) -> PathBuf {
    let services = std::env::var_os("SERVICES_DIR").unwrap_or_else(|| ".services".into());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(services)
        .join("bin")
        .join(name);
    assert!(
        path.exists(),
        "there is no {}: scripts/services bin fetches it",
        path.display()
    );
    path
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A process that is killed when the test ends.
pub(crate) struct Process {
    child: Child,
    log: Option<NamedTempFile>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        look_for_servers();
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: None }
    }

    /// Keeps what the process prints, and shows the end of it when the test fails.
    pub(crate) fn logged(command: &mut Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let output = File::options().append(true).open(log.path()).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut process = Self::spawn(command);
        process.log = Some(log);
        process
    }

    pub(crate) fn log(&self) -> String {
        let log = self.log.as_ref().map(|log| std::fs::read(log.path()));
        String::from_utf8_lossy(&log.unwrap().unwrap()).into_owned()
    }

    /// The first line of its log that holds `text`, as soon as it is there.
    pub(crate) fn told(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ended = self.child.try_wait().unwrap();
            let log = self.log();
            let mut lines = log.split_inclusive('\n').filter(|it| it.ends_with('\n'));
            if let Some(line) = lines.find(|line| line.contains(text)) {
                return line.trim_end().to_owned();
            }
            assert!(ended.is_none(), "it ended before it said: {text}");
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let kill = kill.args([signal, &self.child.id().to_string()]).status();
        assert!(kill.expect("the program kill").success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() && self.log.is_some() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(20)..];
            eprintln!("process {} said last:\n{}", self.id(), last.join("\n"));
        }
    }
}

/// A NATS server with JetStream.
pub(crate) struct Nats {
    port: u16,
    // Before its data: killed, it writes no more there.
    process: Option<Process>,
    data: TempDir,
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
        command.arg(self.data.path()).args(&self.args);
        self.process = Some(Process::logged(&mut command));
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
    // Before its data: killed, it writes no more there.
    process: Option<Process>,
    data: TempDir,
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

    /// Starts it as a replica set of its own.
    pub(crate) async fn start(&mut self) {
        self.start_member();
        let admin = self.admin().await;
        let member = doc! { "_id": 0, "host": self.host() };
        let initiate = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
        eventually("the replica set has a primary", async || {
            drop(admin.run_command(initiate.clone()).await);
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap())
        })
        .await;
    }

    /// Starts it as the second member of a replica set, which never becomes the primary.
    pub(crate) async fn join(&mut self, first: &Self) {
        self.start_member();
        let admin = first.admin().await;
        let settings = doc! { "electionTimeoutMillis": 60_000, "heartbeatIntervalMillis": 200 };
        let members = [
            doc! { "_id": 0, "host": first.host() },
            doc! { "_id": 1, "host": self.host(), "priority": 0 },
        ];
        let set =
            doc! { "_id": "rs0", "version": 2, "members": members.to_vec(), "settings": settings };
        eventually("it is a secondary", async || {
            drop(
                admin
                    .run_command(doc! { "replSetReconfig": set.clone() })
                    .await,
            );
            let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await;
            status.is_ok_and(|status| status.to_string().contains("SECONDARY"))
        })
        .await;
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn admin(&self) -> Database {
        let direct = format!(
            "mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=500{}",
            self.host(),
            self.options
        );
        let client = Client::with_uri_str(direct).await.unwrap();
        client.database("admin")
    }

    fn start_member(&mut self) {
        let mut command = Command::new(program("mongod"));
        let args = "--bind_ip 127.0.0.1 --replSet rs0 --wiredTigerCacheSizeGB 0.25 --nounixsocket \
                    --setParameter enableTestCommands=1";
        command
            .args(args.split_whitespace())
            .args(["--port", &self.port.to_string(), "--dbpath"])
            .arg(self.data.path())
            .args(&self.args);
        self.process = Some(Process::logged(&mut command));
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.as_ref().unwrap().signal(signal);
    }
}
