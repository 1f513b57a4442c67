//! The program itself, as a process: signals, kill -9, the halves apart.

use std::{
    fs,
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use serde_json::{Value, json};
use testbed::{Mongo, Process, at_the_next, eventually, is_held, nats_url, start};

use crate::harness::{JWT_KEY, Place, token};

pub(crate) const PROGRAM: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

pub(crate) fn command(place: &Place) -> Command {
    place.command(PROGRAM, JWT_KEY)
}

pub(crate) async fn create(address: &str) -> reqwest::Result<reqwest::Response> {
    let request = testbed::client()
        .post(format!("{address}/api/tickets"))
        .bearer_auth(token("alice"));
    request
        .json(&json!({ "title": "concert", "price": 1 }))
        .send()
        .await
}

#[tokio::test]
async fn killed_between_publish_and_mark_it_publishes_nothing_twice() {
    // A server of its own: a fail point holds for all of a server.
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let (process, address) = start(&mut command(&place)).await;
    let admin = place.database().await.client().database("admin");
    // The server refuses this service's marks, so that it is killed with the message stored and the event unmarked.
    let refuse = doc! {
        "configureFailPoint": "failCommand", "mode": "alwaysOn",
        "data": { "failCommands": ["update"], "appName": &place.name, "errorCode": 11601 },
    };
    admin.run_command(refuse).await.unwrap();
    let ticket: Value = create(&address).await.unwrap().json().await.unwrap();
    eventually("the message is stored", async || {
        place.messages().await.len() == 1
    })
    .await;
    process.signal("-KILL");
    drop(process);
    admin
        .run_command(doc! { "configureFailPoint": "failCommand", "mode": "off" })
        .await
        .unwrap();
    assert_eq!(place.events().await[0].get_str("sent").unwrap(), "NO");

    let (process, _) = start(&mut command(&place)).await;
    place.drained().await;
    let messages = place.messages().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(
        serde_json::from_slice::<Value>(&messages[0].payload).unwrap(),
        ticket
    );
    drop(process);
    place.remove().await;
}

#[tokio::test]
async fn stopped_in_mid_load_it_loses_no_accepted_request_and_exits_0() {
    let place = Place::new();
    let (mut process, address) = start(&mut command(&place)).await;
    let load = (0..8).map(|_| {
        let address = address.clone();
        tokio::spawn(async move {
            let mut accepted = Vec::new();
            while let Ok(created) = create(&address).await {
                assert_eq!(created.status(), 201);
                accepted.push(
                    created.json::<Value>().await.unwrap()["id"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                );
            }
            accepted
        })
    });
    let load = futures_util::future::join_all(load);
    let tickets = place.database().await.collection::<Document>("tickets");
    let enough = eventually("the load is on", async || {
        tickets.count_documents(doc! {}).await.unwrap() > 50
    });
    let load = tokio::spawn(load);
    enough.await;
    process.signal("-TERM");
    let told_to_stop = Instant::now();
    let accepted: Vec<String> = load
        .await
        .unwrap()
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(told_to_stop.elapsed() < Duration::from_secs(10));

    let (process, _) = start(&mut command(&place)).await;
    place.drained().await;
    let keys: Vec<String> = place
        .events()
        .await
        .iter()
        .map(|event| event.get_str("key").unwrap().to_owned())
        .collect();
    assert!(accepted.len() > 40);
    assert!(accepted.iter().all(|id| keys.contains(id)));
    assert_eq!(place.messages().await.len(), keys.len());
    drop(process);
    place.remove().await;
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_is_under_way_and_publishes_it() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let (mut process, address) = start(&mut command(&place)).await;
    // Longer than the stop's delay: no more requests are taken when it is done.
    let hold = doc! { "blockConnection": true, "blockTimeMS": 3000 };
    at_the_next(&place, "commitTransaction", hold).await;
    let stop = async {
        is_held(&place, "commitTransaction").await;
        process.signal("-TERM");
    };
    let (created, ()) = tokio::join!(create(&address), stop);
    assert_eq!(created.unwrap().status(), 201);
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(place.events().await[0].get_str("sent").unwrap(), "YES");
    assert_eq!(place.messages().await.len(), 1);
}

#[tokio::test]
async fn http_and_publisher_run_as_separate_processes() {
    let place = Place::new();
    let (_serving, address) =
        start(command(&place).args(["serve", "--no-publisher", "--no-consumers"])).await;
    assert_eq!(create(&address).await.unwrap().status(), 201);
    assert_eq!(place.events().await[0].get_str("sent").unwrap(), "NO");
    let ready: Value = testbed::client()
        .get(format!("{address}/health/ready"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(ready.get("nats").is_none());
    let publishing = Process::logged(command(&place).arg("publish"));
    place.drained().await;
    drop(publishing);
    place.remove().await;
}

/// The program under limits that a shell sets: they are inherited.
fn limited(place: &Place, limits: &str) -> Command {
    let program = command(place);
    let mut limited = Command::new("sh");
    let script = format!("{limits} && exec \"$0\"");
    limited.arg("-c").arg(script).arg(program.get_program());
    limited.current_dir(std::env::temp_dir());
    limited.envs(
        program
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    limited
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_to_the_hard_one() {
    let place = Place::new();
    let mut few = limited(&place, "ulimit -S -n 256 && ulimit -H -n 512");
    let (process, _) = start(&mut few).await;
    let limits = format!("/proc/{}/limits", process.pid().unwrap());
    let limits = fs::read_to_string(limits).unwrap();
    let mut lines = limits.lines();
    let files = lines.find_map(|it| it.strip_prefix("Max open files"));
    let files: Vec<&str> = files.unwrap().split_whitespace().collect();
    assert_eq!(files[..2], ["512", "512"]);
    drop(process);
    place.remove().await;
}

#[tokio::test]
async fn where_files_are_few_idle_connections_make_room_for_those_that_ask() {
    const FILES: u32 = 64;
    const IDLE: usize = 70;
    let place = Place::new();
    let mut limited = limited(&place, &format!("ulimit -n {FILES}"));
    let (process, address) = start(&mut limited).await;
    let host = address.strip_prefix("http://").unwrap();
    let idle: Vec<TcpStream> = (0..IDLE)
        .map(|_| TcpStream::connect(host).unwrap())
        .collect();
    assert_eq!(create(&address).await.unwrap().status(), 201);
    let told = |log: String| log.matches("no room for more connections").count();
    eventually("it is told", async || told(process.log()) > 0).await;
    for _ in 0..10 {
        assert_eq!(create(&address).await.unwrap().status(), 201);
    }
    assert_eq!(told(process.log()), 1);
    place.drained().await;
    drop((idle, process));
    place.remove().await;
}
