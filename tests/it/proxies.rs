//! `HAProxy` and nginx, configured as docs/operations.md says, and what a service behind them knows of its clients: `make rolling`, with
//! both on PATH. `rolling.rs` replaces instances behind them.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Client, StatusCode, header};
use serde_json::json;
use tempfile::TempDir;
use testbed::{Process, eventually, free_ports, start};

use crate::{
    documents::read,
    harness::{Place, token},
    process::command,
};

/// In operations.md.
const ADDRESSES: [&str; 2] = ["10.0.0.7:3000", "10.0.0.8:3000"];

/// A proxy on a port, before instances on two others; its files are in the folder.
pub(crate) type Proxy = fn(&TempDir, u16, [u16; 2]) -> Command;

/// A block of operations.md, for a proxy on `port` before these instances.
fn configuration(language: &str, port: u16, instances: [u16; 2]) -> String {
    let operations = read("docs/operations.md");
    let (_, block) = operations.split_once(&format!("```{language}\n")).unwrap();
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

pub(crate) fn haproxy(folder: &TempDir, port: u16, instances: [u16; 2]) -> Command {
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, configuration("haproxy", port, instances)).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(file);
    command
}

pub(crate) fn nginx(folder: &TempDir, port: u16, instances: [u16; 2]) -> Command {
    let (file, home) = (folder.path().join("nginx.conf"), folder.path().display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|it| format!("{it}_temp_path {home}/{it};"));
    let block = configuration("nginx", port, instances);
    // Who kills a master leaves its workers.
    let whole = format!(
        "daemon off; master_process off; pid {home}/pid; error_log stderr; events {{}} http {{ access_log off; {} {block} }}",
        temporary.concat()
    );
    fs::write(&file, whole).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(file);
    command
}

/// A client on this machine that has an address of its own.
pub(crate) fn client_at(address: Ipv4Addr) -> Client {
    let client = Client::builder().local_address(Some(address.into()));
    client.build().unwrap()
}

/// The answers to more requests than one client may make at once, whatever it says of itself.
async fn many(client: &Client, url: &str) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::new();
    for forged in 1..=6 {
        let list = client.get(url);
        let list = list.header("x-forwarded-for", format!("203.0.113.{forged}"));
        statuses.insert(list.send().await.unwrap().status().as_u16());
    }
    statuses
}

/// Clients without a token have a limit each, by their own address. A browser's page may write by its cookie.
async fn clients_are_known_behind(proxy: Proxy) {
    let (place, folder) = (Place::new(), TempDir::new().unwrap());
    let mut command = command(&place);
    command
        .env("RATE_LIMIT", "1")
        .env("TRUSTED_PROXIES", "127.0.0.1");
    let (mut instance, address) = start(&mut command).await;
    let (_, instance_port) = address.rsplit_once(':').unwrap();
    let instance_port = instance_port.parse().unwrap();
    let port = free_ports(1)[0];
    let _proxy = Process::logged(&mut proxy(&folder, port, [instance_port; 2]));
    let origin = format!("http://127.0.0.1:{port}");
    let tickets = format!("{origin}/api/tickets");
    let cookie = STANDARD.encode(json!({ "jwt": token("alice") }).to_string());
    let page_writes = async || {
        let post = testbed::client().post(&tickets);
        let post = post.header(header::COOKIE, format!("express:sess={cookie}"));
        let post = post.header(header::ORIGIN, &origin);
        let post = post.json(&json!({ "title": "concert", "price": 20.5 }));
        post.send().await.map(|answer| answer.status())
    };
    // Until the proxy is there: it does not answer then, or knows no instance yet.
    eventually("the proxy answers", async || {
        let status = page_writes().await;
        status.is_ok_and(|status| status != StatusCode::SERVICE_UNAVAILABLE)
    })
    .await;
    assert_eq!(page_writes().await.unwrap(), StatusCode::CREATED);

    let limited = BTreeSet::from([200, 429]);
    let [one, other] = [[127, 0, 0, 2], [127, 0, 0, 3]].map(|it| client_at(it.into()));
    assert_eq!(many(&one, &tickets).await, limited);
    assert_eq!(many(&other, &tickets).await, limited, "its own limit");
    place.drained().await;
    instance.terminate().await.unwrap();
    place.remove().await;
}

#[tokio::test]
#[ignore = "it wants HAProxy: make rolling"]
async fn behind_haproxy_clients_are_told_apart_and_a_page_may_write_by_its_cookie() {
    clients_are_known_behind(haproxy).await;
}

#[tokio::test]
#[ignore = "it wants nginx: make rolling"]
async fn behind_nginx_clients_are_told_apart_and_a_page_may_write_by_its_cookie() {
    clients_are_known_behind(nginx).await;
}
