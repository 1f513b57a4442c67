//! The program's metrics, read as Prometheus reads them.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

use crate::{
    harness::{Place, eventually},
    process::{command, create},
    servers::Process,
};

/// Prometheus's own linter: names, units and help.
fn promtool_accepts(text: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/promtool");
    let mut promtool = Command::new(script)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = promtool.wait_with_output().unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    assert!(status.success(), "{told}\n{text}");
}

#[tokio::test]
async fn metrics_tell_of_requests_transactions_and_the_outbox() {
    let place = Place::new();
    let mut process = Process::spawn(command(&place).stderr(Stdio::piped()));
    let mut lines = BufReader::new(process.child().stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let (mut address, mut metrics) = (None, None);
    for line in lines.by_ref() {
        let value = |name: &str| Some(line.split_once(name)?.1.trim().trim_matches('"').to_owned());
        address = address.or(value("address=").map(|address| format!("http://{address}")));
        metrics = metrics.or(value("metrics="));
        if address.is_some() && metrics.is_some() {
            break;
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    let (address, metrics) = (address.unwrap(), metrics.unwrap());
    eventually("a ticket is created", async || {
        create(&address).await.unwrap().status() == 201
    })
    .await;
    place.drained().await;
    let public = reqwest::get(format!("{address}/metrics")).await.unwrap();
    assert_eq!(public.status(), 404);
    reqwest::get(format!("{address}/made/up/{}", place.name))
        .await
        .unwrap();
    let scrape = async || reqwest::get(&metrics).await.unwrap().text().await.unwrap();
    eventually("the figures are read", async || {
        let text = scrape().await;
        text.contains("outbox_unsent_events 0") && text.contains("outbox_has_publisher 1")
    })
    .await;
    let text = scrape().await;
    for told in [
        "http_server_request_duration_seconds_count{method=\"POST\",route=\"/api/tickets\",status=\"201\"} 1",
        "mongodb_transaction_duration_seconds_count{outcome=\"committed\"} 1",
        "mongodb_pool_connections{state=\"open\"}",
        "nats_connected 1",
        "outbox_published_total 1",
        "outbox_commit_to_ack_seconds_count 1",
        "outbox_sweep_size_events_count 1",
        "outbox_mark_size_events_count 1",
        "outbox_parked_events 0",
        "outbox_oldest_unsent_age_seconds 0",
        "outbox_is_publisher 1",
        "outbox_lease_changes_total 1",
        "build_info{version=",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
    assert!(
        !text.contains(&place.name),
        "a made-up path makes no series"
    );
    promtool_accepts(&text);
    drop(process);
    place.remove().await;
}
