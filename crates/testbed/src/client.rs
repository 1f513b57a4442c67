//! A client of HTTP for all tests of a process, and a service that it asks.

use std::{process::Command, sync::OnceLock};

use reqwest::Client;

use crate::{Process, eventually};

/// It is made once, which reads the system's certificates, and keeps no connection: a service that stops waits for none.
pub fn client() -> Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let make = || Client::builder().pool_max_idle_per_host(0).build();
    let client = CLIENT.get_or_init(|| make().expect("a client without options can be made"));
    client.clone()
}

/// Starts a service; its process and address, as soon as it is ready. `command` is used up.
pub async fn start(command: &mut Command) -> (Process, String) {
    let mut process = Process::logged(command);
    let line = process.told("address=");
    let address = format!("http://{}", line.rsplit_once("address=").unwrap().1.trim());
    let ready = format!("{address}/health/ready");
    eventually("the process is ready", async || {
        let asked = client().get(&ready).send();
        asked.await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    (process, address)
}
