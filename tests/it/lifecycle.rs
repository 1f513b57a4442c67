//! Start and stop: what the service waits for, what it still takes, and when it gives up.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use bson::{DateTime, Document, doc};
use testbed::{
    DEADLINE, Mongo, Process, assert_problem, at_the_next, eventually, free_port, nats_url,
};

use crate::{
    harness::{Place, TestApp},
    idempotency::is_held,
    process::{command, create, start},
};

#[tokio::test]
async fn readiness_is_503_as_soon_as_a_stop_is_asked_for_and_requests_are_taken_for_stop_delay() {
    const STOP_DELAY: Duration = Duration::from_secs(3);
    let app = TestApp::start_with(|http| http.stop_delay = STOP_DELAY).await;
    let asked = Instant::now();
    app.ask_to_stop();
    let unready = assert_problem(app.get("/health/ready").await, 503).await;
    assert_eq!(unready["errors"][0]["message"], "the service is stopping");
    assert_eq!(app.get("/health/live").await.status(), 200);
    app.create().await;
    let address = app.address.trim_start_matches("http://");
    eventually("no connection is taken any more", async || {
        TcpStream::connect(address).is_err()
    })
    .await;
    assert!(asked.elapsed() >= STOP_DELAY);
    app.finish().await;
}

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
async fn on_a_stop_a_request_that_does_not_end_keeps_neither_the_lease_nor_the_process() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    place.timing.http_drain = Duration::from_millis(200);
    place.timing.drain = Duration::from_secs(4);
    let app = TestApp::start_at(place).await;
    let place = app.place.clone();
    app.create().await;
    place.drained().await;
    let longer_than_the_test = i64::try_from(2 * DEADLINE.as_millis()).unwrap();
    let hold = doc! { "blockConnection": true, "blockTimeMS": longer_than_the_test };
    at_the_next(&place, "insert", hold).await;
    let held = app.request(reqwest::Method::POST, "/api/tickets");
    let held = held.bearer_auth(crate::harness::token("alice"));
    let held = held.json(&serde_json::json!({ "title": "play", "price": 1 }));
    tokio::spawn(held.send());
    is_held(&place, "insert").await;
    let asked = Instant::now();
    app.ask_to_stop();
    let leases = place.database().await.collection::<Document>("leases");
    eventually("the lease is handed over", async || {
        let lease = leases.find_one(doc! { "_id": "publisher" }).await.unwrap();
        let expires = *lease.unwrap().get_datetime("expiresAt").unwrap();
        expires <= DateTime::now()
    })
    .await;
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "it waited for the request"
    );
    tokio::time::timeout(DEADLINE, app.stop()).await.unwrap();
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
