//! The instances of the service, and their settings, which differ where they may.

use std::process::Command;

use testbed::{Process, free_ports, local};

use super::Plan;
use crate::wiring::{ToMongo, ToNats, instance_name};

pub(crate) const STREAM: &str = "CHAOS";
/// Every instance's.
const SETTINGS: [(&str, &str); 6] = [
    ("NATS_STREAM", STREAM),
    // Short, so that faults outlast it: exactly once must not hang on it.
    ("NATS_DUPLICATE_WINDOW", "2s"),
    ("ADMIN_ADDR", "127.0.0.1:0"),
    ("RATE_LIMIT", "0"),
    ("WRITE_RATE_LIMIT", "0"),
    ("RUST_LOG", "info,async_nats=warn"),
];
/// Those of the second and of the third, as while a new version is rolled out: none of them may weaken a promise.
const DIFFERING: [&[(&str, &str)]; 3] = [
    &[],
    &[("EVENT_RETENTION", "2d"), ("STOP_DELAY", "500ms")],
    &[
        ("EVENT_RETENTION", "30d"),
        ("NATS_DUPLICATE_WINDOW", "5s"),
        ("CONCURRENCY_LIMIT", "200"),
        ("NATS_INBOX_PREFIX", "_INBOX_third"),
    ],
];

pub(super) struct Setup<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) jwt_key: &'a str,
    pub(super) to_mongo: &'a ToMongo,
    pub(super) to_nats: &'a ToNats,
}

pub(super) struct Instances {
    pub(super) processes: Vec<Process>,
    /// Base addresses.
    pub(super) addresses: Vec<String>,
}

impl Instances {
    pub(super) fn start(setup: &Setup<'_>) -> Self {
        let Plan { size, folder, .. } = *setup.plan;
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        for (i, port) in free_ports(size.instances).into_iter().enumerate() {
            let (name, address) = (instance_name(i), local(port).to_string());
            let mut command = Command::new(setup.plan.program);
            command.arg("serve").env_clear().envs(SETTINGS);
            command
                .envs(DIFFERING[i % DIFFERING.len()].iter().copied())
                .env("LISTEN_ADDR", &address)
                .env("JWT_KEY", setup.jwt_key)
                .env("MONGO_URI", setup.to_mongo.uri(&name))
                .env("NATS_URL", &setup.to_nats.urls[i])
                .env("NATS_REPLICAS", if size.nats > 1 { "3" } else { "1" })
                .envs(setup.plan.environment.iter().cloned());
            let log = folder.join(format!("{name}.log"));
            let mut process = Process::new(&name, command, log);
            process.start();
            processes.push(process);
            addresses.push(format!("http://{address}"));
        }
        Self {
            processes,
            addresses,
        }
    }
}
