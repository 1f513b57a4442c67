//! A client of HTTP for all tests of a process.

use std::sync::OnceLock;

use reqwest::Client;

/// It is made once, which reads the system's certificates, and keeps no connection: a service that stops waits for none.
pub fn client() -> Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let make = || Client::builder().pool_max_idle_per_host(0).build();
    let client = CLIENT.get_or_init(|| make().expect("a client without options can be made"));
    client.clone()
}
