//! What one user may cost the others.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::json;
use testbed::assert_problem;
use tokio::time::interval;
use web::CHANGES_AT_ONCE;

use crate::harness::TestApp;

/// How long the 95th of 100 updates took that `user` made one after the other.
async fn p95_of_updates(app: &TestApp, user: &str, id: &str) -> Duration {
    let mut took = Vec::new();
    for price in 1..=100 {
        let began = Instant::now();
        let updated = app.put(user, id, json!({ "title": "play", "price": price }));
        assert_eq!(updated.await.status(), 200);
        took.push(began.elapsed());
    }
    took.sort();
    took[94]
}

/// The same, beside 190 requests at once as often as the default limit lets one user; and what those were answered.
async fn p95_beside<R: Future<Output = Response>>(
    app: &TestApp,
    (user, id): (&str, &str),
    request: impl Fn(usize) -> R,
) -> (Duration, Vec<Response>) {
    let mut every = interval(Duration::from_secs(2));
    let mut answers = Vec::new();
    let waves = async {
        loop {
            every.tick().await;
            answers.extend(join_all((1..=190).map(&request)).await);
        }
    };
    let beside = tokio::select! {
        () = waves => unreachable!("they go on"),
        beside = p95_of_updates(app, user, id) => beside,
    };
    (beside, answers)
}

#[tokio::test]
async fn a_few_updates_of_a_ticket_are_worked_on_at_once_and_others_hardly_notice() {
    let app = TestApp::start().await;
    let (hot, id) = (app.create().await, app.create().await);
    // An id has more than one spelling.
    let spellings = [hot.clone(), hot.to_ascii_uppercase()];
    let read = |_| app.get("/api/tickets");
    let (beside_reads, _) = p95_beside(&app, ("alice", &id), read).await;
    let update = |price: usize| {
        let body = json!({ "title": "mine", "price": price });
        app.put("alice", &spellings[price % 2], body)
    };
    let (beside_updates, answers) = p95_beside(&app, ("alice", &id), update).await;

    println!(
        "p95 of others' updates: {beside_reads:?} beside 190 reads at once, {beside_updates:?} beside 190 updates of one ticket"
    );
    assert!(
        beside_updates <= 2 * beside_reads.max(Duration::from_millis(20)),
        "{beside_updates:?}, and {beside_reads:?} beside reads"
    );
    let (taken, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.status() == StatusCode::OK);
    assert!(taken.len() >= CHANGES_AT_ONCE, "{}", taken.len());
    assert!(refused.len() > 100, "{}", refused.len());
    for answer in refused {
        assert_eq!(answer.headers()["retry-after"], "2");
        let problem = assert_problem(answer, 503).await;
        let message = problem["errors"][0]["message"].to_string();
        assert!(
            message.contains("nothing of this one was done"),
            "{message}"
        );
    }
    app.finish().await;
}
