//! What the database is asked for: the collection of the events and its indexes.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{IndexModel, error::ErrorKind};
use testbed::{Mongo, at_the_next, fail, nats_url, plant};

use crate::toy::{Place, event};

#[tokio::test]
async fn a_version_of_a_key_is_recorded_once() {
    let place = Place::new();
    let (db, _) = place.prepared().await;
    plant(
        &place,
        [
            event("a", 0, doc! {}),
            event("a", 1, doc! {}),
            event("b", 1, doc! {}),
        ],
    )
    .await;
    let second = db
        .collection::<Document>("events")
        .insert_one(event("a", 1, doc! {}))
        .await;
    assert!(
        second
            .unwrap_err()
            .to_string()
            .contains("E11000 duplicate key")
    );
    place.remove().await;
}

#[tokio::test]
async fn the_index_of_the_backlog_holds_only_what_is_unsent() {
    let place = Place::new();
    let (db, _) = place.prepared().await;
    let indexes: Vec<IndexModel> = db
        .collection::<Document>("events")
        .list_indexes()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let is_unsent =
        |index: &&IndexModel| index.options.as_ref().unwrap().name.as_deref() == Some("unsent");
    let unsent = indexes.iter().find(is_unsent).unwrap();
    assert_eq!(unsent.keys, doc! { "key": 1, "version": 1, "_id": 1 });
    let filter = unsent
        .options
        .as_ref()
        .unwrap()
        .partial_filter_expression
        .clone();
    assert_eq!(filter, Some(doc! { "sent": "NO" }));
    place.remove().await;
}

#[tokio::test]
async fn collections_and_indexes_that_cannot_be_made_are_an_error() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let (_, outbox) = place.prepared().await;
    // "Bad value", which is neither "it is there" nor "it is there with other options".
    for command in ["create", "createIndexes"] {
        at_the_next(&place, command, doc! { "errorCode": 2 }).await;
        let failed = outbox.prepare(Duration::from_secs(60)).await.unwrap_err();
        assert!(
            matches!(&*failed.kind, ErrorKind::Command(error) if error.code == 2),
            "{failed}"
        );
    }
    // The second kind of index is made on its own.
    fail(
        &place,
        doc! { "skip": 1 },
        "createIndexes",
        doc! { "errorCode": 2 },
    )
    .await;
    outbox.prepare(Duration::from_secs(60)).await.unwrap_err();
    fail(&place, "off", "createIndexes", doc! {}).await;
    outbox.prepare(Duration::from_secs(60)).await.unwrap();
}
