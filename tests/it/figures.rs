//! The figures of the outbox: read from the database, at a price that the backlog alone decides.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use messaging::Outbox;
use testbed::{Mongo, nats_url};

use crate::{
    database::prepared,
    harness::Place,
    metrics::Metered,
    operators::{event, plant},
};

#[tokio::test]
async fn figures_that_cannot_be_read_are_not_told_until_they_can() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    // So that what can't be read is found out soon.
    place.mongo_uri += "&serverSelectionTimeoutMS=300";
    let service = Metered::start(&place);
    service.tell(&["outbox_unsent_events 0"]).await;
    mongo.kill();
    service
        .tell(&["outbox_has_publisher NaN", "outbox_unsent_events NaN"])
        .await;
    mongo.start().await;
    service
        .tell(&["outbox_has_publisher 1", "outbox_unsent_events 0"])
        .await;
    assert!(
        service
            .value_of("outbox_status_read_timestamp_seconds")
            .await
            > 0.0
    );
}

/// How many events the pipeline of a profiled command reads.
fn limit_of(asked: &Document) -> i64 {
    let command = asked.get_document("command").unwrap();
    let stages = command.get_array("pipeline").unwrap();
    let limit = |stage: &Bson| stage.as_document()?.get("$limit")?.as_i64();
    stages.iter().find_map(limit).unwrap()
}

fn told_by_operations() -> i64 {
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let operations = std::fs::read_to_string(operations).unwrap();
    let (told, _) = operations.split_once(" events at most").unwrap();
    let told = told.rsplit(' ').next().unwrap();
    told.replace(',', "").parse().unwrap()
}

#[tokio::test]
async fn the_figures_cost_the_backlog_and_never_the_history_and_read_as_much_as_operations_tells() {
    let place = Place::new();
    let database = place.database().await;
    let outbox = Outbox::new(&prepared(&place).await);
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
