//! The instances of each service, and their settings, which differ where they may.

use std::process::Command;

use testbed::{Process, free_ports, local};

use super::Plan;
use crate::wiring::{ToMongo, ToNats};

/// Every instance's.
const SETTINGS: [(&str, &str); 5] = [
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
    pub(super) names: &'a [String],
    pub(super) jwt_key: &'a str,
    pub(super) to_mongo: &'a ToMongo,
    pub(super) to_nats: &'a ToNats,
}

/// In the order of their names.
pub(super) struct Instances {
    pub(super) processes: Vec<Process>,
    /// Base addresses.
    pub(super) addresses: Vec<String>,
}

/// Service by service.
pub(super) fn names(plan: &Plan<'_>) -> Vec<String> {
    let services = plan.services().into_iter();
    let of = |(_, service): (_, crate::domain::Service)| {
        (0..plan.size.instances).map(move |i| format!("{}{i}", service.instances))
    };
    services.flat_map(of).collect()
}

impl Instances {
    pub(super) fn start(setup: &Setup<'_>) -> Self {
        let Plan { size, folder, .. } = *setup.plan;
        let services = setup.plan.services();
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        let ports = free_ports(setup.names.len());
        for (i, (name, port)) in setup.names.iter().zip(ports).enumerate() {
            let (program, service) = services[i / size.instances];
            let address = local(port).to_string();
            let mut command = Command::new(program);
            command.arg("serve").env_clear().envs(SETTINGS);
            command
                .envs(
                    DIFFERING[i % size.instances % DIFFERING.len()]
                        .iter()
                        .copied(),
                )
                .envs(service.settings.iter().copied())
                .env("LISTEN_ADDR", &address)
                .env("JWT_KEY", setup.jwt_key)
                .env("MONGO_URI", setup.to_mongo.uri(name, service.database))
                .env("NATS_URL", &setup.to_nats.urls[i])
                .env("NATS_STREAM", service.stream)
                .env("NATS_REPLICAS", if size.nats > 1 { "3" } else { "1" })
                .envs(setup.plan.environment.iter().cloned());
            let log = folder.join(format!("{name}.log"));
            let mut process = Process::new(name, command, log);
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
