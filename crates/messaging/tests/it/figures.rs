//! The figures of the outbox: read from the database, at a price that the backlog alone decides.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use testbed::plant;

use crate::toy::{Place, event};

/// How many events the pipeline of a profiled command reads.
fn limit_of(asked: &Document) -> i64 {
    let command = asked.get_document("command").unwrap();
    let stages = command.get_array("pipeline").unwrap();
    let limit = |stage: &Bson| stage.as_document()?.get("$limit")?.as_i64();
    stages.iter().find_map(limit).unwrap()
}

fn told_by_operations() -> i64 {
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let operations = std::fs::read_to_string(operations).unwrap();
    let (told, _) = operations.split_once(" events at most").unwrap();
    let told = told.rsplit(' ').next().unwrap();
    told.replace(',', "").parse().unwrap()
}

#[tokio::test]
async fn the_figures_cost_the_backlog_and_never_the_history_and_read_as_much_as_operations_tells() {
    let place = Place::new();
    let database = place.database().await;
    let (_, outbox) = place.prepared().await;
    let sent = (0..3_000).map(|number| {
        let mut event = event(&format!("key-{number}"), 0, doc! {});
        event.insert("sent", "YES");
        event
    });
    plant(&place, sent).await;
    plant(
        &place,
        (1..=5).map(|version| event("key-7", version, doc! {})),
    )
    .await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let status = outbox.sampled_status().await.unwrap();
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(status.unsent, 5);
    let profile = database.collection::<Document>("system.profile");
    let events = format!("{}.events", place.name);
    let asked: Vec<Document> = profile
        .find(doc! { "ns": events })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(limit_of(&asked[0]), told_by_operations());
    for examined in ["keysExamined", "docsExamined"] {
        assert!(asked[0].get_i32(examined).unwrap() <= 6, "{asked:?}");
    }
    place.remove().await;
}
