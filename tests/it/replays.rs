//! `outbox replay`: what it takes, and what it tells.

use std::time::Duration;

use serde_json::json;

use crate::{
    harness::{Place, TestApp},
    operators::{json, published, stream},
};

#[tokio::test]
async fn what_replay_finds_and_publishes_is_told_as_json_and_a_dry_run_changes_nothing() {
    // A window that is soon over: the ids of what is lost are forgotten.
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let app = TestApp::start_at(place).await;
    let id = app.create().await;
    for price in 1..=3 {
        app.put("alice", &id, json!({ "title": "play", "price": price }))
            .await;
    }
    let kept = app.create().await;
    app.place.drained().await;
    let nothing = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(nothing, json!({ "checked": 5, "lost": [] }));

    let stream = stream(&app.place).await;
    // The broker loses the end of the ticket's history: versions 2 and 3.
    for message in app.place.messages().await {
        if message.subject.ends_with(&id)
            && ["2", "3"].contains(&message.headers.get("ce-keyversion").unwrap().as_str())
        {
            stream.delete_message(message.sequence).await.unwrap();
        }
    }
    assert_eq!(published(&app.place, &id).await, [0, 1]);

    let lost = json(
        &app.place,
        &["replay", "--since", "1h", "--ticket", &id, "--dry-run"],
    )
    .await;
    let versions: Vec<_> = lost["lost"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lost| lost["version"].clone())
        .collect();
    assert_eq!(
        (lost["checked"].clone(), versions),
        (json!(4), vec![json!(2), json!(3)])
    );
    assert_eq!(
        published(&app.place, &id).await,
        [0, 1],
        "a dry run changes nothing"
    );
    let of_another = json(&app.place, &["replay", "--since", "1h", "--key", &kept]).await;
    assert_eq!(of_another, json!({ "checked": 1, "lost": [] }));
    let of_later = json(&app.place, &["replay", "--since", "2999-01-01T00:00:00Z"]).await;
    assert_eq!(of_later["checked"], 0);
    let of_earlier = json(&app.place, &["replay", "--since", "2h", "--until", "1h"]).await;
    assert_eq!(of_earlier["checked"], 0);

    let replayed = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(replayed["lost"].as_array().unwrap().len(), 2);
    assert_eq!(published(&app.place, &id).await, [0, 1, 2, 3]);
    assert_eq!(published(&app.place, &kept).await, [0]);
    let again = json(&app.place, &["replay", "--since", "1h"]).await;
    assert_eq!(again, json!({ "checked": 5, "lost": [] }));
    app.finish().await;
}
