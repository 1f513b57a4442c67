//! What is read goes by an index: a database may forbid anything else.

use bson::{Document, doc};
use messaging::Outbox;
use testbed::{Mongo, eventually, nats_url, plant};

use crate::{
    operator::outbox,
    toy::{Place, Toy, event, published},
};

#[tokio::test]
async fn publishing_and_every_command_go_by_an_index() {
    let mut mongo = Mongo::absent();
    mongo.args.extend(["--notablescan".into()]);
    mongo.start().await;
    let toy = Toy::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    let place = &toy.place;
    let mut unreadable = ["a", "b", "c"].map(|key| event(key, 0, doc! {}));
    unreadable
        .iter_mut()
        .for_each(|it| drop(it.insert("data", "text")));
    plant(place, unreadable).await;
    plant(place, [event("a", 1, doc! {}), event("d", 0, doc! {})]).await;
    let parked = async || {
        let outbox = Outbox::new(&place.db().await);
        outbox.list(true, 10).await.unwrap()
    };
    eventually("they are parked", async || parked().await.len() == 3).await;
    let events = place.database().await.collection::<Document>("events");
    let mended = doc! { "$set": { "data": { "value": 1 } } };
    events
        .update_one(doc! { "_id": event_id(&events, "a").await }, mended)
        .await
        .unwrap();
    outbox(place, &["retry", "--all-parked"]).await.unwrap();
    eventually("one is mended", async || parked().await.len() == 2).await;
    let skipped = parked().await.remove(0).id;
    outbox(place, &["skip", &skipped, "--reason", "a bad import"])
        .await
        .unwrap();
    eventually("one is left", async || parked().await.len() == 1).await;
    outbox(place, &["retry", &parked().await.remove(0).id])
        .await
        .unwrap();
    for command in [&["status"][..], &["list"], &["list", "--parked"]] {
        outbox(place, command).await.unwrap();
    }
    outbox(place, &["replay", "--since", "1h", "--dry-run"])
        .await
        .unwrap();
    outbox(place, &["replay", "--since", "1h", "--key", "a"])
        .await
        .unwrap();
    eventually("the mended ones are published", async || {
        published(place, "a").await == [0, 1]
    })
    .await;
    assert_eq!(published(place, "d").await, [0]);
    toy.stop().await;
}

async fn event_id(events: &mongodb::Collection<Document>, key: &str) -> bson::oid::ObjectId {
    let found = events.find_one(doc! { "key": key, "version": 0 }).await;
    found.unwrap().unwrap().get_object_id("_id").unwrap()
}
