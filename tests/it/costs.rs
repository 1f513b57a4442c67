//! What a stranger may cost us: memory for heads that are never finished, and work for requests that are refused.

use std::{fs, path::PathBuf};

use futures_util::future::join_all;
use reqwest::Client;
use serde_json::json;
use testbed::{Process, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{Place, token},
    process::{command, create},
};

fn of_process(process: &Process, path: &str) -> PathBuf {
    format!("/proc/{}/{path}", process.pid().unwrap()).into()
}

fn resident_kb(process: &Process) -> u64 {
    let status = fs::read_to_string(of_process(process, "status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.unwrap().trim().trim_end_matches(" kB");
    kb.parse().unwrap()
}

/// The time that all its threads were running.
fn cpu_microseconds(process: &Process) -> u64 {
    let threads = fs::read_dir(of_process(process, "task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let told = fs::read_to_string(thread.unwrap().path().join("schedstat"));
        let told = told.unwrap_or_default();
        told.split(' ').next().unwrap().parse().unwrap_or(0)
    });
    nanoseconds.sum::<u64>() / 1_000
}

async fn connect(address: &str) -> TcpStream {
    let address = address.trim_start_matches("http://");
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn a_head_that_is_never_finished_takes_little() {
    // What else the process does meanwhile is shared by as many.
    const HEADS: u64 = 800;
    let (service, address) = start(&mut command(&Place::new())).await;
    let read = async || {
        let list = reqwest::get(format!("{address}/api/tickets")).await;
        assert_eq!(list.unwrap().status(), 200);
    };
    for _ in 0..20 {
        read().await;
    }
    let before = resident_kb(&service);
    let begun = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx-long: {}",
        "a".repeat(31_000)
    );
    let heads = (0..HEADS).map(async |_| {
        let mut connection = connect(&address).await;
        connection.write_all(begun.as_bytes()).await.unwrap();
        connection
    });
    let heads = join_all(heads).await;
    let mut most = 0;
    for _ in 0..50 {
        read().await;
        most = most.max(resident_kb(&service));
    }
    let each = most.saturating_sub(before) / HEADS;
    println!("{each} KB for each of {HEADS} heads: {before} KB before, {most} KB with them");
    // Its own 31 KB among them.
    assert!(each <= 40, "{each} KB");
    // They were there all the time.
    assert_eq!(heads.len() as u64, HEADS);
}

#[tokio::test]
async fn what_is_refused_costs_no_more_than_what_is_answered() {
    const TIMES: u64 = 200;
    let (service, address) = start(&mut command(&Place::new())).await;
    let mut limited = command(&Place::new());
    let (busy, limited) = start(limited.env("RATE_LIMIT", "1")).await;
    create(&address).await.unwrap();
    let client = Client::new();
    let path = "/api/tickets";
    let cookies = format!("{}express:sess=x", "a=b; ".repeat(6_000));
    let forged = format!("{}x", token(&"u".repeat(250)));
    let long = "a".repeat(9_000);
    let head = "POST /api/tickets HTTP/1.1\r\nhost: x\r\n";
    let long_head = format!("{head}x-long: {}\r\n\r\n", "a".repeat(33_000));
    let chunks = "1\r\na\r\n".repeat(60_000);
    let in_bytes = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let cost = async |process: &Process,
                      what: &str,
                      status: u16,
                      request: &dyn Fn() -> reqwest::RequestBuilder| {
        let mut began = 0;
        // The first ones may be taken, and warm up what is asked.
        for time in 0..TIMES + 20 {
            if time == 20 {
                began = cpu_microseconds(process);
            }
            match request().send().await {
                // Once a second the limit of one takes a request.
                Ok(answer) => assert!(
                    time < 20 || status == 429 || answer.status() == status,
                    "{what}"
                ),
                Err(error) => panic!("{what}: {error}"),
            }
        }
        let each = (cpu_microseconds(process) - began) / TIMES;
        println!("{each} µs of CPU: {what}");
        each
    };
    let get = || client.get(format!("{address}{path}"));
    let post = || client.post(format!("{address}{path}"));
    let refused = || client.get(format!("{limited}{path}"));
    let plain = cost(&service, "a list", 200, &get).await;
    let costs = [
        cost(&service, "401, a forged token", 401, &|| {
            post().bearer_auth(&forged)
        })
        .await,
        cost(&service, "401, a token of 9 KB", 401, &|| {
            post().bearer_auth(&long)
        })
        .await,
        cost(&service, "401, 6,000 cookies", 401, &|| {
            post().header("cookie", &cookies)
        })
        .await,
        cost(&service, "400, a body without fields", 400, &|| {
            post().bearer_auth(token("alice")).json(&json!({}))
        })
        .await,
        cost(&service, "413, a body of 70 KB", 413, &|| {
            post().bearer_auth(token("alice")).body("a".repeat(70_000))
        })
        .await,
        cost(&busy, "429", 429, &refused).await,
        cost(&busy, "429, a forged token", 429, &|| {
            refused().bearer_auth(&forged)
        })
        .await,
        cost_on_its_own(&service, &address, TIMES, 431, &long_head).await,
        cost_on_its_own(&service, &address, TIMES, 400, &in_bytes).await,
    ];
    // A release build is held to half a millisecond, a debug build to three times what a list costs.
    let limit = if cfg!(debug_assertions) {
        plain * 3
    } else {
        500
    };
    assert!(
        costs.iter().all(|cost| *cost <= limit),
        "{costs:?}, and a list {plain}"
    );
}

/// Of a request that ends its connection.
async fn cost_on_its_own(
    process: &Process,
    address: &str,
    times: u64,
    status: u16,
    request: &str,
) -> u64 {
    let began = cpu_microseconds(process);
    for _ in 0..times {
        let mut connection = connect(address).await;
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        let expected = format!("HTTP/1.1 {status}");
        assert_eq!(String::from_utf8_lossy(&answer), expected);
    }
    let each = (cpu_microseconds(process) - began) / times;
    let length = request.len();
    println!("{each} µs of CPU: {status}, {length} bytes on a connection of their own");
    each
}
