//! A ticket that an order holds keeps a queue of the others: only events of one order are in order.

use bson::{Document, doc, oid::ObjectId};
use serde_json::json;
use testbed::eventually;

use crate::{
    orders::{Order, Orders},
    reservations::{CANCELLED, CREATED, are_marked, dead_letters, finish, is_held, read},
};

#[tokio::test]
async fn a_ticket_goes_to_the_order_that_is_left_in_whichever_order_their_events_come() {
    let (orders, app) = Orders::and_tickets().await;
    // Of A, which is cancelled, and B, which is not.
    let sequences = [
        ["A created", "A cancelled", "B created"],
        ["A created", "B created", "A cancelled"],
        ["B created", "A created", "A cancelled"],
    ];
    for sequence in sequences {
        let ticket = app.create().await;
        let (mut a, mut b) = (Order::of(&ticket), Order::of(&ticket));
        for event in sequence {
            let order = if event.starts_with('A') {
                &mut a
            } else {
                &mut b
            };
            let (r#type, version) = if event.ends_with("created") {
                (CREATED, 0)
            } else {
                (CANCELLED, 1)
            };
            orders.publish(order, r#type).await;
            are_marked(&app, &[order], version).await;
        }
        let ticket = read(&app, &ticket).await;
        assert_eq!(ticket["orderId"], json!(b.id), "{sequence:?}");
        assert!(ticket.get("waitingOrders").is_none());
    }
    assert!(dead_letters(&app).await.is_empty());
    finish(orders, app).await;
}

#[tokio::test]
async fn an_order_for_which_the_queue_has_no_room_is_tried_again_until_there_is_some() {
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let (mut holder, mut late) = (Order::of(&ticket), Order::of(&ticket));
    orders.publish(&mut holder, CREATED).await;
    is_held(&app, &ticket, Some(&holder), 1).await;
    let tickets = app.place.database().await.collection::<Document>("tickets");
    let waiting: Vec<_> = (0..1_000).map(|_| ObjectId::new().to_hex()).collect();
    let many = doc! { "$set": { "waitingOrders": &waiting } };
    tickets.update_one(doc! {}, many).await.unwrap();
    orders.publish(&mut late, CREATED).await;
    eventually("it is tried again", async || {
        let letters = dead_letters(&app).await;
        letters
            .first()
            .is_some_and(|it| it.get_i64("attempts").unwrap() > 1)
    })
    .await;
    orders.publish(&mut holder, CANCELLED).await;
    are_marked(&app, &[&late], 0).await;
    let stored = tickets.find_one(doc! {}).await.unwrap().unwrap();
    let waiting = stored.get_array("waitingOrders").unwrap();
    assert_eq!(waiting.len(), 1_000);
    assert_eq!(waiting.last().unwrap().as_str(), Some(&*late.id));
    finish(orders, app).await;
}

#[tokio::test]
async fn orders_that_wait_get_the_ticket_in_the_order_of_their_coming() {
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let mut all: Vec<_> = (0..4).map(|_| Order::of(&ticket)).collect();
    for order in &mut all {
        orders.publish(order, CREATED).await;
        are_marked(&app, &[order], 0).await;
    }
    is_held(&app, &ticket, Some(&all[0]), 1).await;

    // One gives up while it waits, which nobody sees.
    orders.publish(&mut all[2], CANCELLED).await;
    are_marked(&app, &[&all[2]], 1).await;
    is_held(&app, &ticket, Some(&all[0]), 1).await;

    for (cancelled, next, version) in [(0, Some(1), 2), (1, Some(3), 3), (3, None, 4)] {
        orders.publish(&mut all[cancelled], CANCELLED).await;
        is_held(&app, &ticket, next.map(|next| &all[next]), version).await;
    }
    let tickets = app.place.database().await.collection::<Document>("tickets");
    let stored = tickets.find_one(doc! {}).await.unwrap().unwrap();
    assert!(
        !stored.contains_key("waitingOrders"),
        "it stands there only while somebody waits"
    );
    finish(orders, app).await;
}
