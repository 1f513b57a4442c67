//! A MongoDB that answers reads and no writes.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Client;
use service::Timing;
use testbed::{
    Mongo, Place, assert_problem, at_the_next, eventually, has_entered, local, log::Log, nats_url,
};

use crate::toy::{Toy, hangs, own_mongo};

/// More than there are connections.
const WRITERS: usize = 100;

/// A hundred writes hang: nobody waits for their answers.
async fn hang(toy: &Toy) {
    for _ in 0..WRITERS {
        tokio::spawn(toy.request());
    }
}

/// What readiness says as soon as it is 503.
async fn unready(toy: &Toy) -> String {
    eventually("it is not ready", async || {
        toy.get("/health/ready").await.status() == 503
    })
    .await;
    let problem = assert_problem(toy.get("/health/ready").await, 503).await;
    problem["errors"][0]["message"].as_str().unwrap().to_owned()
}

/// While writes hang, a read is as quick as ever, a write is refused at once, and readiness says `why`.
async fn reads_go_on(toy: &Toy, id: &str, why: &str) {
    const AT_ONCE: Duration = Duration::from_secs(2);
    let told = unready(toy).await;
    assert!(told.contains("answered no write for"), "{told}");
    assert!(told.contains(why), "{told}");
    let asked = Instant::now();
    assert_eq!(toy.get(&format!("/api/counters/{id}")).await.status(), 200);
    assert_eq!(toy.get("/health/live").await.status(), 200);
    assert_problem(toy.post().await, 503).await;
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
}

async fn is_well_again(toy: &Toy) {
    eventually("it is ready again", async || {
        toy.get("/health/ready").await.status() == 200
    })
    .await;
    toy.create().await;
}

#[tokio::test]
async fn reads_go_on_where_mongodb_is_locked_and_readiness_says_so() {
    let (log, _guard) = Log::capture();
    let (_mongo, place) = own_mongo().await;
    let toy = Toy::of_counters(place, Timing::default()).await;
    let id = toy.create().await;
    let admin = toy.place.database().await.client().database("admin");
    // Some writes are under way when it is locked, and some begin after it.
    hang(&toy).await;
    let lock = doc! { "fsync": 1, "lock": true };
    admin.run_command(lock).await.unwrap();
    hang(&toy).await;
    log.told("writes are not answered").await;
    reads_go_on(&toy, &id, "is it locked (fsyncLock)").await;
    admin.run_command(doc! { "fsyncUnlock": 1 }).await.unwrap();
    log.told("MongoDB answers transactions again").await;
    is_well_again(&toy).await;
    toy.finish().await;
}

#[tokio::test]
async fn reads_go_on_where_a_majority_confirms_nothing_and_readiness_says_so() {
    let mut mongo = Mongo::absent_set(3);
    mongo.start().await;
    let toy = Toy::of_counters(Place::at(&mongo.uri(), &nats_url()), Timing::default()).await;
    let id = toy.create().await;
    let secondaries = secondaries(&mongo).await;
    let stop = |mode: &str| doc! { "configureFailPoint": "stopReplProducer", "mode": mode };
    for secondary in &secondaries {
        let admin = secondary.database("admin");
        admin.run_command(stop("alwaysOn")).await.unwrap();
    }
    hang(&toy).await;
    reads_go_on(&toy, &id, "a majority of its members does not confirm them").await;
    for secondary in &secondaries {
        secondary
            .database("admin")
            .run_command(stop("off"))
            .await
            .unwrap();
    }
    is_well_again(&toy).await;
    toy.finish().await;
}

async fn secondaries(mongo: &Mongo) -> Vec<Client> {
    let mut secondaries = Vec::new();
    for port in &mongo.ports {
        let uri = format!("mongodb://{}/?directConnection=true", local(*port));
        let member = Client::with_uri_str(uri).await.unwrap();
        let hello: Document = member
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .await
            .unwrap();
        if hello.get_bool("secondary").unwrap() {
            secondaries.push(member);
        }
    }
    secondaries
}

#[tokio::test]
async fn where_the_connections_of_requests_hang_readiness_says_so_and_is_well_again_by_itself() {
    const CONNECTIONS: usize = 10;
    const HANG_MS: i32 = 8_000;
    let (mongo, _) = own_mongo().await;
    let few = format!("{}&maxPoolSize={CONNECTIONS}", mongo.uri());
    let mut timing = Timing::default();
    timing.db.read_limit = Duration::from_millis(300);
    let toy = Toy::of_counters(Place::at(&few, &nats_url()), timing).await;
    let id = toy.create().await;
    let database = toy.place.database().await;
    let admin = database.client().database("admin");
    let what = doc! {
        "failCommands": ["find"], "namespace": format!("{}.counters", database.name()),
        "blockConnection": true, "blockTimeMS": HANG_MS,
    };
    let fail = doc! { "configureFailPoint": "failCommand", "mode": { "times": CONNECTIONS as i32 }, "data": what };
    admin.run_command(fail).await.unwrap();
    let path = format!("/api/counters/{id}");
    let reads = (0..CONNECTIONS).map(|_| toy.get(&path));
    for read in futures_util::future::join_all(reads).await {
        assert_problem(read, 503).await;
    }
    let told = unready(&toy).await;
    let wants = "MongoDB has answered none of the last 10 reads of requests";
    assert!(told.starts_with(wants), "{told}");
    // By connections of its own everything else goes on.
    is_well_again(&toy).await;
    assert_eq!(toy.get(&path).await.status(), 200);
    toy.finish().await;
}

#[tokio::test]
async fn where_each_transaction_hangs_readiness_and_the_log_say_so_though_other_writes_are_answered()
 {
    const PLACES: i32 = 8;
    const HANG_MS: i32 = 15_000;
    let (log, _guard) = Log::capture();
    let (mongo, _) = own_mongo().await;
    let few = format!("{}&maxPoolSize=10", mongo.uri());
    let toy = Toy::of_counters(Place::at(&few, &nats_url()), Timing::default()).await;
    let id = toy.create().await;
    let admin = toy.place.database().await.client().database("admin");
    let hang = doc! { "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": HANG_MS };
    let fail =
        doc! { "configureFailPoint": "failCommand", "mode": { "times": PLACES }, "data": hang };
    admin.run_command(fail).await.unwrap();
    for _ in 0..PLACES {
        tokio::spawn(toy.request());
    }
    let told = unready(&toy).await;
    let wants = "MongoDB has answered none of 8 transactions for ";
    assert!(told.starts_with(wants), "{told}");
    log.told("writes are not answered").await;
    let path = format!("/api/counters/{id}");
    assert_eq!(toy.get(&path).await.status(), 200);
    assert_problem(toy.post().await, 503).await;
    is_well_again(&toy).await;
    log.told("MongoDB answers transactions again").await;
    toy.finish().await;
}

#[tokio::test]
async fn one_write_that_hangs_by_itself_makes_nobody_else_wait_and_nothing_unready() {
    let (_mongo, place) = own_mongo().await;
    let toy = Toy::of_counters(place, Timing::default()).await;
    at_the_next(&toy.place, "commitTransaction", hangs()).await;
    let hung = tokio::spawn(toy.request());
    has_entered(&toy.place, 1).await;
    let began = Instant::now();
    // For longer than a stall is waited for.
    while began.elapsed() < Duration::from_secs(6) {
        assert_eq!(toy.get("/health/ready").await.status(), 200);
    }
    toy.create().await;
    // Its database can't be dropped while a transaction is open; the server is this test's own, and goes.
    hung.abort();
}
