//! What is counted of requests, transactions and connections, also of those that fail.

use bson::{DateTime, doc};
use serde_json::json;
use testbed::{Mongo, at_the_next, eventually, fail, is_held, nats_url};

use crate::{
    harness::{Place, token},
    metrics::Metered,
    operators::{event, plant},
    process::create,
};

#[tokio::test]
async fn a_request_whose_client_hangs_up_is_counted_as_aborted() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let service = Metered::start(&place);
    service.create().await;
    let hold = doc! { "blockConnection": true, "blockTimeMS": 3000 };
    at_the_next(&place, "commitTransaction", hold).await;
    let address = service.address.clone();
    let hung_up = tokio::spawn(async move { create(&address).await });
    is_held(&place, "commitTransaction").await;
    hung_up.abort();
    service
        .tell(&["http_server_request_duration_seconds_count{method=\"POST\",route=\"/api/tickets\",status=\"aborted\"} 1"])
        .await;
    drop(service);
}

#[tokio::test]
async fn metrics_tell_of_refused_requests_of_retries_and_of_how_transactions_ended() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let service = Metered::start_with(&place, "CONCURRENCY_LIMIT", "1");
    service.create().await;
    let list = format!("{}/api/tickets", service.address);
    let hold = doc! {
        "namespace": format!("{}.tickets", place.name), "blockConnection": true, "blockTimeMS": 1_000,
    };
    at_the_next(&place, "find", hold).await;
    let lists = [
        testbed::client().get(&list).send(),
        testbed::client().get(&list).send(),
    ];
    futures_util::future::join_all(lists).await;
    service
        .tell(&[
            "http_server_requests_refused_total 1",
            "http_server_request_duration_seconds_count{method=\"GET\",route=\"/api/tickets\",status=\"503\"} 1",
        ])
        .await;

    let again = doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    at_the_next(&place, "insert", again).await;
    assert_eq!(create(&service.address).await.unwrap().status(), 201);
    for (code, status) in [(2, 500), (50, 503)] {
        at_the_next(&place, "insert", doc! { "errorCode": code }).await;
        assert_eq!(create(&service.address).await.unwrap().status(), status);
    }
    let nobodys = testbed::client().put(format!("{list}/507f1f77bcf86cd799439011"));
    let nobodys = nobodys.bearer_auth(token("alice"));
    let nobodys = nobodys.json(&json!({ "title": "play", "price": 1 })).send();
    assert_eq!(nobodys.await.unwrap().status(), 404);
    service
        .tell(&[
            "mongodb_transaction_retries_total 1",
            "mongodb_transaction_duration_seconds_count{outcome=\"committed\"} 2",
            "mongodb_transaction_duration_seconds_count{outcome=\"failed\"} 1",
            "mongodb_transaction_duration_seconds_count{outcome=\"unavailable\"} 1",
            "mongodb_transaction_duration_seconds_count{outcome=\"refused\"} 1",
        ])
        .await;
}

#[tokio::test]
async fn as_many_connections_to_mongodb_are_in_use_at_most_as_operations_tells() {
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let operations = std::fs::read_to_string(operations).unwrap();
    let (_, told) = operations
        .split_once("{pool=\"requests\",state=\"in_use\"}` (")
        .unwrap();
    let most: f64 = told.split(' ').next().unwrap().parse().unwrap();
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let service = Metered::start(&place);
    service.create().await;
    let hold = doc! {
        "namespace": format!("{}.tickets", place.name), "blockConnection": true, "blockTimeMS": 60_000,
    };
    fail(&place, "alwaysOn", "find", hold).await;
    for _ in 0..(most as usize + 20) {
        tokio::spawn(
            testbed::client()
                .get(format!("{}/api/tickets", service.address))
                .send(),
        );
    }
    let in_use = async || {
        service
            .value_of("mongodb_pool_connections{pool=\"requests\",state=\"in_use\"}")
            .await
    };
    eventually("all connections are in use", async || {
        in_use().await >= most
    })
    .await;
    // Those that wait for one are many enough to take another, if there were one.
    let waiting = async || {
        service
            .value_of("mongodb_pool_connections{pool=\"requests\",state=\"open\"}")
            .await
    };
    assert_eq!((in_use().await, waiting().await), (most, most));
}

#[tokio::test]
async fn metrics_tell_how_old_events_are_when_they_are_acknowledged_and_how_many_go_together() {
    const HOUR_MS: i64 = 3_600_000;
    let place = Place::new();
    let service = Metered::start(&place);
    service.create().await;
    place.drained().await;
    let value = async |name: &str| service.value_of(name).await;
    let (ages, sweeps) = (
        "outbox_commit_to_ack_seconds_sum",
        "outbox_sweep_size_events_sum",
    );
    let fresh = value(ages).await;
    assert!((0.0..60.0).contains(&fresh), "{fresh}");
    assert_eq!(value(sweeps).await, 1.0);
    let mut old = event("old", 0, doc! {});
    let made = DateTime::now().timestamp_millis() - HOUR_MS;
    old.insert("createdAt", DateTime::from_millis(made));
    plant(&place, [old]).await;
    place.drained().await;
    let both = value(ages).await;
    assert!((3_600.0..3_720.0).contains(&both), "{both}");
    assert_eq!(value(sweeps).await, 2.0);
    place.remove().await;
}
