//! What one user may cost the others.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::{Response, StatusCode};
use serde_json::json;
use testbed::assert_problem;
use web::CHANGES_AT_ONCE;

use crate::harness::{Place, TestApp};

/// At once, as many as the default limit lets one user send.
const UPDATES: usize = 190;

async fn is_refused(answer: Response) {
    assert_eq!(answer.headers()["retry-after"], "2");
    let problem = assert_problem(answer, 503).await;
    let message = problem["errors"][0]["message"].to_string();
    assert!(
        message.contains("nothing of this one was done"),
        "{message}"
    );
}

#[tokio::test]
async fn a_few_updates_of_a_ticket_are_worked_on_at_once_and_others_are_refused_and_hold_up_nobody()
{
    let mut place = Place::new();
    // However slow the machine is, they are at work until the ticket is free.
    place.timing.db.attempts_end = Duration::from_secs(60);
    place.timing.http.work = Duration::from_secs(60);
    let app = TestApp::start_at(place).await;
    let (hot, other) = (app.create().await, app.create().await);
    // Somebody's transaction holds the ticket: whoever works on it tries again and again.
    let database = app.place.database().await;
    let tickets = database.collection::<Document>("tickets");
    let mut holder = database.client().start_session().await.unwrap();
    holder.start_transaction().await.unwrap();
    let id: bson::oid::ObjectId = hot.parse().unwrap();
    let touch = doc! { "$set": { "held": true } };
    let held = tickets.update_one(doc! { "_id": id }, touch);
    held.session(&mut holder).await.unwrap();
    // An id has more than one spelling.
    let spellings = [hot.clone(), hot.to_ascii_uppercase()];
    let updates = (1..=UPDATES).map(|price| {
        let body = json!({ "title": "mine", "price": price });
        app.put("alice", &spellings[price % 2], body)
    });
    let mut updates: FuturesUnordered<_> = updates.collect();
    for _ in CHANGES_AT_ONCE..UPDATES {
        is_refused(updates.next().await.unwrap()).await;
    }
    // The few are at work, and a thing of their own has nobody to wait for.
    for price in 1..=20 {
        let updated = app.put("alice", &other, json!({ "title": "play", "price": price }));
        assert_eq!(updated.await.status(), StatusCode::OK);
    }
    holder.abort_transaction().await.unwrap();
    while let Some(answer) = updates.next().await {
        assert_eq!(answer.status(), StatusCode::OK);
    }
    drop(updates);
    app.finish().await;
}
