//! What MongoDB is asked for: durable writes, and what is told of connections and transactions.

use std::{cell::RefCell, time::Duration};

use bson::{Document, doc};
use db::{Abort, Db, Error, MongoOptions, Timing, TransactionError};
use futures_util::TryStreamExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use testbed::{Mongo, Place, at_the_next, eventually, fail, nats_url};

const THINGS: &str = "things";

pub(crate) async fn prepared(place: &Place) -> Db {
    let mongo_uri = place.mongo_uri.clone().into();
    let db = Db::connect(&MongoOptions { mongo_uri }, "test", Timing::default()).await;
    let db = db.unwrap();
    db.ensure_collection(THINGS, []).await.unwrap();
    db.mark_prepared();
    db
}

/// A document, in a transaction.
async fn insert(db: &Db) -> Result<(), TransactionError<&'static str>> {
    db.transaction(db.collection(THINGS), |session, things| {
        Box::pin(async move {
            things.insert_one(doc! {}).session(session).await?;
            Ok::<_, Abort<&str>>(())
        })
    })
    .await
}

/// Waits until such a command of a transaction is held at the server: as it came there.
async fn held(place: &Place, command: &str) -> Document {
    let admin = place.database().await.client().database("admin");
    let look = [
        doc! { "$currentOp": { "allUsers": true, "idleSessions": true } },
        doc! { "$match": { format!("command.{command}"): { "$exists": true } } },
    ];
    let held = RefCell::new(None::<Document>);
    eventually("a command is held", async || {
        let mut found = admin.aggregate(look.clone()).await.unwrap();
        *held.borrow_mut() = found.try_next().await.unwrap();
        held.borrow().is_some()
    })
    .await;
    let operation = held.take().unwrap();
    operation.get_document("command").unwrap().clone()
}

#[tokio::test]
async fn a_transaction_is_durable_on_a_majority_whatever_the_connection_string_says() {
    let mut mongo = Mongo::absent();
    mongo.options = "&w=1&journal=false&readConcernLevel=local".to_owned();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let db = prepared(&place).await;
    let hold = doc! { "blockConnection": true, "blockTimeMS": 2000 };
    at_the_next(&place, "commitTransaction", hold.clone()).await;
    let (saved, commit) = tokio::join!(insert(&db), held(&place, "commitTransaction"));
    saved.unwrap();
    let concern = commit.get_document("writeConcern").unwrap();
    assert_eq!(concern.get_str("w").unwrap(), "majority");
    assert!(concern.get_bool("j").unwrap());

    at_the_next(&place, "insert", hold).await;
    let (saved, insert) = tokio::join!(insert(&db), held(&place, "insert"));
    saved.unwrap();
    let concern = insert.get_document("readConcern");
    assert_eq!(concern.unwrap().get_str("level").unwrap(), "majority");
}

#[tokio::test]
async fn a_transaction_goes_on_when_its_caller_is_dropped() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let db = prepared(&place).await;
    let hold = doc! { "blockConnection": true, "blockTimeMS": 500 };
    at_the_next(&place, "insert", hold).await;
    tokio::select! {
        saved = insert(&db) => panic!("not held: {saved:?}"),
        _ = held(&place, "insert") => {}
    }
    let things = db.collection::<Document>(THINGS);
    eventually("it is saved", async || {
        things.count_documents(doc! {}).await.unwrap() == 1
    })
    .await;
}

/// Collects the metrics of this test's thread, which all of its tasks run on.
fn metrics() -> (PrometheusHandle, metrics::LocalRecorderGuard<'static>) {
    let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    (
        recorder.handle(),
        metrics::set_default_local_recorder(recorder),
    )
}

fn value(metrics: &PrometheusHandle, name: &str) -> f64 {
    let text = metrics.render();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open_and_in_use_and_when_none_can_be_had() {
    let mut mongo = Mongo::absent();
    mongo.options = "&connectTimeoutMS=1000&heartbeatFrequencyMS=500".to_owned();
    mongo.start().await;
    let (metrics, _guard) = metrics();
    let place = Place::at(&mongo.uri(), &nats_url());
    let db = prepared(&place).await;
    let [open, in_use] = ["open", "in_use"].map(|state| {
        let name = format!("mongodb_pool_connections{{pool=\"requests\",state=\"{state}\"}}");
        let metrics = metrics.clone();
        move || value(&metrics, &name)
    });
    let failures = || value(&metrics, "mongodb_pool_checkout_failures_total");
    assert!(open() >= 1.0);
    eventually("none is in use", async || in_use() == 0.0).await;
    let hold = doc! { "blockConnection": true, "blockTimeMS": 500 };
    at_the_next(&place, "find", hold).await;
    let things = db.collection::<Document>(THINGS);
    let looking = tokio::spawn(async move { things.find_one(doc! {}).await });
    eventually("one is in use", async || in_use() == 1.0).await;
    looking.await.unwrap().unwrap();
    eventually("none is in use again", async || in_use() == 0.0).await;

    let failed_before = failures();
    mongo.signal("-STOP");
    // More than are open: the others have to be made, and the server does not greet.
    let pings = (0..8).map(|_| db.check(Duration::from_secs(2)));
    futures_util::future::join_all(pings).await;
    eventually("one could not be had", async || failures() > failed_before).await;
    mongo.kill();
    eventually("none is open", async || open() == 0.0).await;
}

#[tokio::test]
async fn transactions_are_counted_by_their_outcome_and_their_retries() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let (metrics, _guard) = metrics();
    let place = Place::at(&mongo.uri(), &nats_url());
    let db = prepared(&place).await;
    let count = |outcome: &str| {
        let name = format!("mongodb_transaction_duration_seconds_count{{outcome=\"{outcome}\"}}");
        value(&metrics, &name)
    };
    let retries = || value(&metrics, "mongodb_transaction_retries_total");

    insert(&db).await.unwrap();
    assert_eq!((count("committed"), retries()), (1.0, 0.0));

    at_the_next(
        &place,
        "insert",
        doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] },
    )
    .await;
    insert(&db).await.unwrap();
    assert_eq!((count("committed"), retries()), (2.0, 1.0));

    let refused = db
        .transaction((), |_, ()| {
            Box::pin(async { Err::<(), _>(Abort::Refused("no")) })
        })
        .await;
    assert!(matches!(refused, Err(TransactionError::Refused("no"))));
    assert_eq!(count("refused"), 1.0);

    at_the_next(&place, "insert", doc! { "errorCode": 2 }).await;
    let failed = insert(&db).await.unwrap_err();
    assert!(
        matches!(failed, TransactionError::Failed(Error::Failed(_))),
        "{failed:?}"
    );
    assert_eq!((count("failed"), count("unavailable")), (1.0, 0.0));

    // It is committed, or not: the server can't say that a majority has it.
    for code in [50, 79, 100] {
        let unknown = doc! { "writeConcernError": { "code": code, "errmsg": "not known" } };
        fail(&place, "alwaysOn", "commitTransaction", unknown).await;
        let unknown = insert(&db).await.unwrap_err();
        assert!(
            matches!(unknown, TransactionError::Failed(Error::Unavailable(_))),
            "{unknown:?}"
        );
    }
    assert_eq!((count("failed"), count("unavailable")), (1.0, 3.0));
    assert_eq!((count("committed"), retries()), (2.0, 1.0));
}

#[tokio::test]
async fn an_error_that_the_server_calls_passing_is_one_whatever_its_code() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let db = prepared(&place).await;
    for label in [
        "TransientTransactionError",
        "UnknownTransactionCommitResult",
    ] {
        let labelled = doc! { "errorCode": 2, "errorLabels": [label] };
        fail(&place, "alwaysOn", "find", labelled).await;
        let notes = db.collection::<Document>("notes");
        let read = db.read(async move { notes.find_one(doc! {}).await }).await;
        assert!(
            matches!(read, Err(Error::Unavailable(_))),
            "{label}: {read:?}"
        );
    }
}

#[tokio::test]
async fn while_mongodb_answers_writes_do_not_stall_whatever_it_answers() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let db = prepared(&place).await;
    // For longer than a stall is waited for, each attempt meets a conflict.
    let conflict = doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    fail(&place, "alwaysOn", "insert", conflict).await;
    let writing = tokio::spawn({
        let db = db.clone();
        async move { insert(&db).await }
    });
    while !writing.is_finished() {
        assert_eq!(db.check(Duration::from_secs(2)).await, Ok(()));
    }
    assert!(writing.await.unwrap().is_err());
}
