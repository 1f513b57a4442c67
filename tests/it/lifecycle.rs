//! Start and stop of the process: what it waits for, which signals it hears, and how it ends.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use testbed::{Mongo, Process, eventually, free_port, nats_url, start};

use crate::{
    harness::Place,
    process::{command, create},
};

#[tokio::test]
async fn ctrl_c_sigterm_and_sigquit_end_it_with_exit_code_0_soon_after_the_delay_of_a_second() {
    for signal in ["-INT", "-TERM", "-QUIT"] {
        let place = Place::new();
        let (mut process, _) = start(&mut command(&place)).await;
        // These would end another process.
        for ignored in ["-HUP", "-USR1", "-USR2"] {
            process.signal(ignored);
        }
        let asked = Instant::now();
        process.signal(signal);
        assert_eq!(process.ended().await.code(), Some(0), "{signal}");
        let took = asked.elapsed();
        // A second more in general, and a few on a busy machine.
        let expected = Duration::from_secs(1)..Duration::from_secs(6);
        assert!(expected.contains(&took), "{took:?}");
        place.remove().await;
    }
}

#[tokio::test]
async fn a_stop_is_heard_while_the_databases_name_is_looked_up() {
    let place = Place::new();
    let mut command = command(&place);
    command.env("MONGO_URI", "mongodb+srv://mongo.example.invalid/");
    let mut process = Process::logged(&mut command);
    process.told("waiting for the database's name");
    process.signal("-TERM");
    assert!(process.ended().await.success());
}

#[tokio::test]
async fn nothing_listens_until_the_name_in_an_srv_address_is_found_and_the_log_says_so() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut service = command(&Place::new());
    // RFC 2606: there is no such name.
    service.env("MONGO_URI", "mongodb+srv://tickets.invalid/tickets");
    service.env("LISTEN_ADDR", &address);
    let service = Process::logged(&mut service);
    for times in 1..=2 {
        eventually("it waits, and says so", async || {
            let log = service.log();
            log.matches("waiting for the database's name").count() >= times
        })
        .await;
        assert!(TcpStream::connect(&address).is_err());
    }
}

#[tokio::test]
async fn without_a_name_in_mongo_uri_the_database_has_the_services_name() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let (_process, address) = start(command(&place).env("MONGO_URI", mongo.uri())).await;
    assert_eq!(create(&address).await.unwrap().status(), 201);
    let client = place.database().await.client().clone();
    let tickets = client.database(env!("CARGO_PKG_NAME"));
    let tickets = tickets.collection::<Document>("tickets");
    assert_eq!(tickets.count_documents(doc! {}).await.unwrap(), 1);
    place.remove().await;
}
