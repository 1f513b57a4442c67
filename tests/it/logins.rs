//! A user whom MongoDB does not let in for a while.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use serde_json::json;
use testbed::{assert_problem, eventually, log::Log};

use crate::{
    harness::TestApp,
    rights::{Guarded, ROLE, is_ready, is_unready},
};

const AT_ONCE: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_password_that_was_changed_is_told_at_once_until_it_fits_again() {
    let mut guarded = Guarded::start().await;
    let app = TestApp::start_at(guarded.place.clone()).await;
    guarded.change_password("another").await;
    // Connections that are there stay what they are.
    guarded.mongo.kill();
    guarded.mongo.start().await;
    is_unready(&app, "authentication at MongoDB failed").await;
    // The first one finds out.
    let ticket = json!({ "title": "concert", "price": 1 });
    assert_problem(app.post("alice", ticket.clone()).await, 503).await;
    let asked = Instant::now();
    assert_problem(app.post("alice", ticket).await, 503).await;
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    guarded.change_password("s3cret").await;
    is_ready(&app).await;
    app.create().await;
    app.place.drained().await;
    app.stop().await;
}

/// As the administrator sees it: a login of before is not the new user's.
async fn is_drained(guarded: &Guarded) {
    let database = guarded.admin.client().database(&guarded.place.name);
    let events = database.collection::<Document>("events");
    eventually("the outbox is drained", async || {
        events.count_documents(doc! { "sent": "NO" }).await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn a_user_who_is_dropped_is_told_at_once_and_let_in_when_he_is_made_anew() {
    let (log, _guard) = Log::capture();
    let guarded = Guarded::start().await;
    let app = TestApp::start_at(guarded.place.clone()).await;
    app.create().await;
    is_drained(&guarded).await;
    guarded.drop_user().await;
    let ticket = json!({ "title": "concert", "price": 1 });
    // Longer than the driver takes a server for gone after a login that failed.
    let began = Instant::now();
    while began.elapsed() < LONG {
        let asked = Instant::now();
        assert_problem(app.post("alice", ticket.clone()).await, 503).await;
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
    is_unready(&app, "authentication at MongoDB failed").await;
    guarded.make_user().await;
    is_ready(&app).await;
    app.create().await;
    is_drained(&guarded).await;
    let told = ["MongoDB does not let us in", "MongoDB lets us in again"];
    let lines = told.map(|line| log.lines_with(line));
    assert!(lines.iter().all(|lines| lines.len() == 1), "{lines:?}");

    // Connections that are there do not become the new user's.
    guarded.drop_user().await;
    guarded.make_user().await;
    eventually("it is let in again", async || {
        app.post("alice", ticket.clone()).await.status() == 201
    })
    .await;
    is_drained(&guarded).await;
    is_ready(&app).await;
    let role = doc! { "revokeRolesFromUser": "service", "roles": [ROLE] };
    guarded.admin.run_command(role).await.unwrap();
    is_unready(&app, "lacks the privilege").await;
    assert_problem(app.post("alice", ticket).await, 503).await;
    let role = doc! { "grantRolesToUser": "service", "roles": [ROLE] };
    guarded.admin.run_command(role).await.unwrap();
    is_ready(&app).await;
    app.create().await;
    is_drained(&guarded).await;
    app.stop().await;
}
