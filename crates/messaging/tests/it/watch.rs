//! The change stream tells of all that the sweep does not see.

use std::{cell::Cell, time::Duration};

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, options::WriteConcern};
use testbed::{Mongo, at_the_next, eventually, nats_url};

use crate::toy::{Place, Toy, event};

/// When the change stream on the events was opened that is open now, the only one of the server.
async fn opened(database: &Database) -> Option<DateTime> {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
        doc! { "$match": {
            "ns": { "$regex": "[.]events$" }, "cursor.originatingCommand.pipeline.0.$changeStream": { "$exists": true },
        } },
        doc! { "$sort": { "cursor.createdDate": -1 } },
    ];
    let admin = database.client().database("admin");
    let mut found = admin.aggregate(pipeline).await.ok()?;
    let cursor = if found.advance().await.ok()? {
        found.deserialize_current().ok()?
    } else {
        return None;
    };
    cursor
        .get_document("cursor")
        .ok()?
        .get_datetime("createdDate")
        .ok()
        .copied()
}

/// The first member goes on as the primary while the second does not answer.
async fn stays_primary(mongo: &Mongo, database: &Database) {
    let members = [
        doc! { "_id": 0, "host": &mongo.hosts[0] },
        doc! { "_id": 1, "host": &mongo.hosts[1], "priority": 0 },
    ];
    let settings = doc! { "electionTimeoutMillis": 60_000, "heartbeatIntervalMillis": 200 };
    let set =
        doc! { "_id": "rs0", "version": 2, "members": members.to_vec(), "settings": settings };
    let admin = database.client().database("admin");
    admin
        .run_command(doc! { "replSetReconfig": set })
        .await
        .unwrap();
}

/// An event is committed on the primary alone while the stream is opened: neither does the sweep see it, which the opening rings for,
/// nor is it newer than the stream. When a majority has it, it is published without waiting for the safety interval.
#[tokio::test]
async fn a_stream_that_is_opened_tells_of_what_a_majority_did_not_have_yet() {
    let mut mongo = Mongo::absent_set(2);
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    stays_primary(&mongo, &place.database().await).await;
    place.timing.safety_interval = Duration::from_secs(3600);
    // It can't be renewed while there is no majority.
    place.timing.lease_term = Duration::from_secs(60);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    let database = toy.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();

    let secondary = &mongo.members[1];
    secondary.signal("-STOP");
    let events = database.collection::<Document>("events");
    let insert = events.insert_one(event("late", 0, doc! {}));
    insert.write_concern(WriteConcern::nodes(1)).await.unwrap();
    let before = opened(&database).await;
    let lost = doc! { "errorCode": 286, "namespace": format!("{}.events", toy.place.name) };
    at_the_next(&toy.place, "getMore", lost).await;
    let since = Cell::new(None);
    eventually("the stream is opened anew", async || {
        since.set(opened(&database).await);
        since.get() > before
    })
    .await;
    let profile = database.collection::<Document>("system.profile");
    let sweep = doc! {
        "ns": format!("{}.events", toy.place.name), "op": "query", "ts": { "$gt": since.get() },
        "command.filter.sent": "NO",
    };
    eventually("a sweep has looked", async || {
        profile.count_documents(sweep.clone()).await.unwrap() > 0
    })
    .await;
    let looked = profile.find_one(sweep).await.unwrap().unwrap();
    let concern = looked.get_document("command").unwrap();
    let concern = concern.get_document("readConcern").unwrap();
    assert_eq!(concern.get_str("level").unwrap(), "majority", "{looked}");
    assert_eq!(toy.place.messages().await.len(), 1);
    secondary.signal("-CONT");
    eventually("it is published", async || {
        toy.place.messages().await.len() == 2
    })
    .await;
    toy.place.drained().await;
    assert_eq!(toy.place.messages().await.len(), 2);
    toy.finish().await;
}

#[tokio::test]
async fn an_event_that_is_given_back_is_told_of_and_published_at_once() {
    let mut place = Place::new();
    place.timing.safety_interval = Duration::from_secs(3600);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    let events = toy.place.database().await.collection::<Document>("events");
    // More than once: of the insertion, a bell may be left over for the first.
    for _ in 0..4 {
        let given_back = doc! { "$set": { "sent": "NO" }, "$unset": { "sentAt": "" } };
        events.update_one(doc! {}, given_back).await.unwrap();
        toy.place.drained().await;
    }
    assert_eq!(toy.place.messages().await.len(), 1);
    toy.finish().await;
}

/// Else each answer is as large as the server allows, and with it what the service takes of memory.
#[tokio::test]
async fn of_a_thousand_events_that_are_saved_at_once_no_answer_tells_of_more_than_256() {
    let toy = Toy::start_at(Place::new()).await;
    let database = toy.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let profile = database.collection::<Document>("system.profile");
    let answers = [
        doc! { "$match": {
            "op": "getmore", "ns": format!("{}.events", toy.place.name), "originatingCommand.pipeline.0.$changeStream": { "$exists": true },
        } },
        doc! { "$group": { "_id": null, "all": { "$sum": "$nreturned" }, "most": { "$max": "$nreturned" } } },
    ];
    let told = async |figure| {
        let mut found = profile.aggregate(answers.clone()).await.unwrap();
        let found = found.try_next().await.unwrap().unwrap_or_default();
        found.get_i32(figure).unwrap_or_default()
    };
    // What was asked before the profile began is not in it.
    eventually("answers are profiled", async || {
        toy.create().await;
        told("all").await > 0
    })
    .await;
    let before = told("all").await;

    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let events = database.collection::<Document>("events");
    let thousand = (0..1_000).map(|number| event(&format!("key-{number}"), 0, doc! {}));
    let saved = events.insert_many(thousand).session(&mut session);
    saved.await.unwrap();
    session.commit_transaction().await.unwrap();
    eventually("all are told of", async || {
        told("all").await >= before + 1_000
    })
    .await;
    assert_eq!(told("most").await, 256);
    toy.place.drained().await;
    toy.finish().await;
}
