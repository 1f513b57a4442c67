//! Consumers that die, as processes: each event of an order is applied once all the same.

use std::collections::BTreeSet;

use bson::{Document, doc};
use serde_json::Value;
use testbed::{Mongo, eventually, nats_url, start};

use crate::{
    harness::Place,
    orders::{Order, Orders},
    process::{command, create},
};

const TICKETS: usize = 8;
const ORDERS: usize = 160;

#[tokio::test]
async fn killed_again_and_again_its_instances_apply_each_event_of_an_order_once() {
    // What a process that died with a transaction open had locked is free after a second.
    let mut mongo = Mongo::absent();
    let lifetime = ["--setParameter", "transactionLifetimeLimitSeconds=1"];
    mongo.args.extend(lifetime.map(Into::into));
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let orders = Orders::at(&place).await;
    let serving = || {
        let mut serving = command(&place);
        serving.env("RESERVATIONS_STREAM", place.orders_stream());
        serving
    };
    let (mut one, address) = start(&mut serving()).await;
    let (mut other, _) = start(&mut serving()).await;
    let mut tickets = Vec::new();
    for _ in 0..TICKETS {
        let ticket: Value = create(&address).await.unwrap().json().await.unwrap();
        tickets.push(ticket["id"].as_str().unwrap().to_owned());
    }
    let published = async {
        for number in 0..ORDERS {
            let mut order = Order::of(&tickets[number % TICKETS]);
            orders.publish(&mut order, "order.created").await;
            orders.publish(&mut order, "order.cancelled").await;
        }
    };
    let marks = place.database().await.collection::<Document>("inbox");
    let are_applied = async |least: usize, version: i64| {
        eventually("orders are applied", async || {
            let applied = marks.count_documents(doc! { "version": version }).await;
            applied.is_ok_and(|applied| applied >= least as u64)
        })
        .await;
    };
    let killed = async {
        for number in 1..=4 {
            are_applied(number * ORDERS / 8, 1).await;
            let one = if number % 2 == 0 {
                &mut one
            } else {
                &mut other
            };
            one.signal("-KILL");
            *one = start(&mut serving()).await.0;
        }
    };
    tokio::join!(published, killed);
    are_applied(ORDERS, 1).await;

    // Nothing is left, no version is skipped, and each event of an order made one of a ticket at most.
    place.drained().await;
    let database = place.database().await;
    let letters = database.collection::<Document>("deadLetters");
    assert_eq!(letters.count_documents(doc! {}).await.unwrap(), 0);
    let stored = database.collection::<Document>("tickets");
    let held =
        doc! { "$or": [{ "orderId": { "$ne": null } }, { "waitingOrders": { "$exists": true } }] };
    assert_eq!(stored.count_documents(held).await.unwrap(), 0);
    let events = place.events().await;
    for ticket in &tickets {
        let of_ticket = events
            .iter()
            .filter(|event| event.get_str("key").unwrap() == ticket);
        let versions: Vec<_> = of_ticket
            .map(|event| event.get_i64("version").unwrap())
            .collect();
        let last = versions.len() as i64;
        assert_eq!(versions, (0..last).collect::<Vec<_>>());
    }
    let updates = events
        .iter()
        .filter(|event| event.get_i64("version").unwrap() > 0);
    let causes: Vec<_> = updates
        .map(|event| event.get_str("traceparent").unwrap())
        .collect();
    let distinct: BTreeSet<_> = causes.iter().collect();
    assert_eq!(
        distinct.len(),
        causes.len(),
        "an event of an order was applied twice"
    );
    orders.remove(&place).await;
    drop((one, other));
    place.remove().await;
}
