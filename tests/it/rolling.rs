//! Two instances behind a real proxy, replaced one after the other under load, as an update does: `make rolling`, with haproxy and
//! nginx on PATH. The proxies are configured as docs/operations.md says.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Process, client, eventually, free_port, free_ports, stream};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    harness::{JWT_KEY, Place, token},
    process::PROGRAM,
};

const OPERATIONS: &str = include_str!("../../docs/operations.md");
/// In operations.md.
const ADDRESSES: [&str; 2] = ["10.0.0.7:3000", "10.0.0.8:3000"];
const STOP_DELAY: &str = "3s";
const CLIENTS: usize = 8;
/// Of a client between two requests: enough for hundreds a second, and little enough that the machine is not the bottleneck.
const PAUSE: Duration = Duration::from_millis(10);
const LATEST_EVENT_MS: i64 = 5_000;

/// How often each instance is replaced.
fn rounds() -> usize {
    let rounds = std::env::var("ROLLING_ROUNDS").unwrap_or_else(|_| "20".into());
    rounds.parse().unwrap()
}

/// A block of operations.md, for a proxy on `port` before these instances.
fn configuration(language: &str, port: u16, instances: [u16; 2]) -> String {
    let (_, block) = OPERATIONS.split_once(&format!("```{language}\n")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut block = block.to_owned();
    for (address, port) in ADDRESSES.into_iter().zip(instances) {
        assert!(block.contains(address), "{address}");
        block = block.replace(address, &format!("127.0.0.1:{port}"));
    }
    block
        .replace("bind :80", &format!("bind 127.0.0.1:{port}"))
        .replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
}

fn haproxy(folder: &TempDir, port: u16, instances: [u16; 2]) -> Command {
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, configuration("haproxy", port, instances)).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(file);
    command
}

fn nginx(folder: &TempDir, port: u16, instances: [u16; 2]) -> Command {
    let (file, home) = (folder.path().join("nginx.conf"), folder.path().display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|it| format!("{it}_temp_path {home}/{it};"));
    let block = configuration("nginx", port, instances);
    let whole = format!(
        "daemon off; pid {home}/pid; error_log stderr; events {{}} http {{ access_log off; {} {block} }}",
        temporary.concat()
    );
    fs::write(&file, whole).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(file);
    command
}

/// What all clients have seen.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    failures: AtomicUsize,
    is_over: AtomicBool,
}

impl Seen {
    /// The answer's body, where it is the one that was expected; anything else is told.
    async fn answer(&self, request: RequestBuilder, expected: StatusCode) -> Option<Value> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let failed = match request.send().await {
            Ok(answer) if answer.status() == expected => match answer.json().await {
                Ok(body) => return Some(body),
                Err(error) => format!("{error:?}"),
            },
            Ok(answer) => format!("{} {:?}", answer.status(), answer.text().await),
            Err(error) => format!("{error:?}"),
        };
        eprintln!("not {expected}: {failed}");
        self.failures.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Creates a ticket, changes it and reads it, over and over, on a connection that is kept.
    async fn work(self: Arc<Self>, tickets: String) {
        let (client, alice) = (Client::new(), token("alice"));
        while !self.is_over.load(Ordering::Relaxed) {
            sleep(PAUSE).await;
            let body = json!({ "title": "concert", "price": 20.5 });
            let post = client.post(&tickets).bearer_auth(&alice).json(&body);
            let Some(created) = self.answer(post, StatusCode::CREATED).await else {
                continue;
            };
            let ticket = format!("{tickets}/{}", created["id"].as_str().unwrap());
            sleep(PAUSE).await;
            let body = json!({ "title": "play", "price": 30 });
            let put = client.put(&ticket).bearer_auth(&alice).json(&body);
            self.answer(put, StatusCode::OK).await;
            sleep(PAUSE).await;
            self.answer(client.get(&ticket), StatusCode::OK).await;
        }
    }
}

/// One of the two, on a port that it keeps.
struct Instance {
    process: Process,
    address: String,
    metrics: String,
}

impl Instance {
    fn start(place: &Place, program: &str, port: u16) -> Self {
        let (address, admin) = (
            format!("127.0.0.1:{port}"),
            format!("127.0.0.1:{}", free_port()),
        );
        let mut command = place.command(program, JWT_KEY);
        assert!(OPERATIONS.contains(&format!("`STOP_DELAY={STOP_DELAY}`")));
        let addresses = [("LISTEN_ADDR", &*address), ("ADMIN_ADDR", &admin)];
        command.envs(addresses).env("STOP_DELAY", STOP_DELAY);
        Self {
            process: Process::logged(&mut command),
            address: format!("http://{address}/health/ready"),
            metrics: format!("http://{admin}/metrics"),
        }
    }

    async fn ready(&self) {
        eventually("the instance is ready", async || {
            let asked = client().get(&self.address).send().await;
            asked.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
    }

    /// Waits until the proxy sends requests to it.
    async fn used(&self) {
        eventually("the proxy uses the instance", async || {
            let Ok(answer) = client().get(&self.metrics).send().await else {
                return false;
            };
            let is_told =
                |line: &str| line.contains("_count{") && line.contains("route=\"/api/tickets\"");
            answer.text().await.unwrap().lines().any(is_told)
        })
        .await;
    }
}

/// How long the slowest event took from its transaction to its mark.
async fn latest_event_ms(place: &Place) -> i64 {
    let events = place.database().await.collection::<Document>("events");
    let took = doc! { "$dateDiff": { "startDate": "$createdAt", "endDate": "$sentAt", "unit": "millisecond" } };
    let slowest = [doc! { "$group": { "_id": null, "ms": { "$max": took } } }];
    let mut slowest = events.aggregate(slowest).await.unwrap();
    let slowest = slowest.try_next().await.unwrap().unwrap();
    slowest.get_i64("ms").unwrap()
}

/// Each instance is replaced by `programs` in turn.
async fn replaced_behind(proxy: fn(&TempDir, u16, [u16; 2]) -> Command, programs: &[String]) {
    let (place, folder) = (Place::new(), TempDir::new().unwrap());
    let [a, b, port] = free_ports(3).try_into().unwrap();
    let mut instances = [a, b].map(|port| Instance::start(&place, &programs[0], port));
    for instance in &instances {
        instance.ready().await;
    }
    let _proxy = Process::logged(&mut proxy(&folder, port, [a, b]));
    let tickets = format!("http://127.0.0.1:{port}/api/tickets");
    eventually("the proxy answers", async || {
        let asked = client().get(&tickets).send().await;
        asked.is_ok_and(|answer| answer.status() == StatusCode::OK)
    })
    .await;

    let seen = Arc::<Seen>::default();
    let clients = (0..CLIENTS).map(|_| Arc::clone(&seen).work(tickets.clone()));
    let clients: JoinSet<()> = clients.collect();
    for round in 1..=rounds() {
        let program = &programs[round % programs.len()];
        for (instance, port) in instances.iter_mut().zip([a, b]) {
            instance.used().await;
            instance.process.terminate().await.unwrap();
            *instance = Instance::start(&place, program, port);
            instance.ready().await;
        }
        let [requests, failures] =
            [&seen.requests, &seen.failures].map(|it| it.load(Ordering::Relaxed));
        eprintln!("round {round}: {failures} of {requests} requests failed");
    }
    seen.is_over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    place.drained().await;

    let latest_ms = latest_event_ms(&place).await;
    let requests = seen.requests.load(Ordering::Relaxed);
    eprintln!("{requests} requests, the latest event after {latest_ms} ms");
    let events = place.database().await.collection::<Document>("events");
    let saved = events.count_documents(doc! {}).await.unwrap();
    let stored = stream(&place).await.cached_info().state.messages;
    assert_eq!(stored, saved, "each event is stored once");
    assert_eq!(
        seen.failures.load(Ordering::Relaxed),
        0,
        "of {requests} requests"
    );
    assert!(latest_ms < LATEST_EVENT_MS, "{latest_ms} ms");
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes and wants HAProxy: make rolling"]
async fn behind_haproxy_an_update_loses_no_request_and_delays_no_event() {
    replaced_behind(haproxy, &[PROGRAM.to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes and wants nginx: make rolling"]
async fn behind_nginx_an_update_loses_no_request_and_delays_no_event() {
    replaced_behind(nginx, &[PROGRAM.to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it wants a build of the version before, and HAProxy: scripts/upgrade"]
async fn an_update_from_the_version_before_and_a_step_back_lose_nothing() {
    let before = std::env::var("ROLLING_BEFORE").unwrap();
    replaced_behind(haproxy, &[before, PROGRAM.to_owned()]).await;
}
