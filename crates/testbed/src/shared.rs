//! The servers that all tests share: where the environment says, else where `make services` starts them.

use std::{
    io::Write,
    net::{TcpStream, ToSocketAddrs},
    sync::LazyLock,
    time::Duration,
};

pub fn mongo_uri() -> String {
    look_for_servers();
    SERVERS[0].1.clone()
}

pub fn nats_url() -> String {
    look_for_servers();
    SERVERS[1].1.clone()
}

static SERVERS: LazyLock<[(&str, String); 2]> = LazyLock::new(|| {
    let set = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let mongo = "mongodb://127.0.0.1:27017/?replicaSet=rs0";
    [
        ("MongoDB", set("TEST_MONGO_URI", mongo)),
        ("NATS", set("TEST_NATS_URL", "nats://127.0.0.1:4222")),
    ]
});

/// Without them no test can pass: the first that looks ends the run, with one line instead of a failure for each.
fn look_for_servers() {
    static ANSWER: LazyLock<()> = LazyLock::new(|| {
        for (name, uri) in &*SERVERS {
            let host = uri.rsplit_once('@').or(uri.split_once("://")).unwrap().1;
            let host = host.split(['/', ',']).next().unwrap();
            let answers = host.to_socket_addrs().is_ok_and(|mut addresses| {
                let limit = Duration::from_secs(2);
                addresses.any(|address| TcpStream::connect_timeout(&address, limit).is_ok())
            });
            if !answers {
                // Past the capture of what tests print, which would swallow it.
                let told =
                    format!("no {name} answers at {host}, and the tests need it: make services");
                drop(writeln!(std::io::stderr(), "{told}"));
                std::process::exit(1);
            }
        }
    });
    LazyLock::force(&ANSWER);
}
