//! MongoDB is away: at the start, in the middle, and while a transaction commits.

use bson::{Document, doc};
use serde_json::{Value, json};
use service::Timing;
use testbed::{Mongo, Place, assert_problem, at_the_next, eventually, fail, has_entered, nats_url};

use crate::toy::{COUNTERS, NEVER, Toy, own_mongo};

#[tokio::test]
async fn without_mongodb_requests_are_503_and_the_service_recovers_by_itself() {
    let mut mongo = Mongo::absent();
    // MongoDB was never there.
    let place = Place::at(&mongo.uri(), &nats_url());
    let app = Toy::begin_with_counters(place, Timing::default()).await;
    let unready = app.get("/health/ready").await;
    assert_eq!(unready.status(), 503);
    let told: Value = unready.json().await.unwrap();
    let why = format!(
        "MongoDB is down: {}: Connection refused (os error 111)",
        mongo.hosts[0]
    );
    assert_eq!(told["errors"], json!([{ "message": why }]));
    assert_eq!(app.get("/health/live").await.status(), 200);
    let refused = app.post().await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    mongo.start().await;
    eventually("ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
    app.create().await;
    app.place.drained().await;

    mongo.kill();
    let refused = app.post().await;
    assert_eq!(refused.status(), 503);
    mongo.start().await;
    eventually("writes are taken again", async || {
        app.post().await.status() == 201
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_is_503_and_not_a_claim() {
    let (_mongo, place) = own_mongo().await;
    // It is the outcome that answers, not the time-out.
    let mut timing = Timing::default();
    timing.http.work = NEVER;
    let app = Toy::of_counters(place, timing).await;
    // The commit is done, but the server can't say that a majority has it.
    let unknown =
        doc! { "writeConcernError": { "code": 50, "errmsg": "waiting for replication timed out" } };
    fail(&app.place, "alwaysOn", "commitTransaction", unknown).await;
    let unknown = app.post().await;
    fail(&app.place, "off", "commitTransaction", doc! {}).await;
    assert_eq!(unknown.status(), 503);
    assert!(unknown.headers().contains_key("retry-after"));
    let told = unknown.text().await.unwrap();
    assert!(
        told.contains(
            "the database could not answer in time; if this was a write, it is not known whether it was saved"
        )
    );
    // It was answered before a majority had it.
    eventually("it was saved", async || {
        !app.place.events().await.is_empty()
    })
    .await;
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_its_transaction() {
    let (_mongo, place) = own_mongo().await;
    let app = Toy::of_counters(place, Timing::default()).await;
    let hold = doc! { "blockConnection": true, "blockTimeMS": 500 };
    at_the_next(&app.place, "insert", hold).await;
    let asked = tokio::spawn(app.request());
    has_entered(&app.place, 1).await;
    asked.abort();
    let counters = app.place.database().await.collection::<Document>(COUNTERS);
    eventually("counter and event are saved", async || {
        let saved = counters.count_documents(doc! {}).await.unwrap();
        saved == 1 && app.place.events().await.len() == 1
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_commit_whose_session_an_operator_kills_is_503() {
    let (_mongo, place) = own_mongo().await;
    let app = Toy::of_counters(place, Timing::default()).await;
    let admin = app.place.database().await.client().database("admin");
    let hold = doc! { "blockConnection": true, "blockTimeMS": 1_000 };
    at_the_next(&app.place, "commitTransaction", hold).await;
    let kill = async {
        has_entered(&app.place, 1).await;
        let all = doc! { "killAllSessions": [] };
        admin.run_command(all).await.unwrap();
    };
    let (killed, ()) = tokio::join!(app.post(), kill);
    assert_problem(killed, 503).await;
    app.create().await;
    app.finish().await;
}
