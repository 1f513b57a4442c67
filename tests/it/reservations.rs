//! Orders reserve tickets and give them back: each event of an order is applied once, whatever the order between orders.

use bson::{Document, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use testbed::eventually;

use crate::{
    harness::{Place, TestApp},
    orders::{Order, Orders, trace_of},
};

pub(crate) const CREATED: &str = "order.created";
pub(crate) const CANCELLED: &str = "order.cancelled";

pub(crate) async fn read(app: &TestApp, ticket: &str) -> Value {
    let read = app.get(&format!("/api/tickets/{ticket}")).await;
    read.json().await.unwrap()
}

/// Waits until the ticket is held by `order`, or by nobody, as this version.
pub(crate) async fn is_held(app: &TestApp, ticket: &str, order: Option<&Order>, version: i64) {
    let holder = json!(order.map(|order| &order.id));
    eventually("the ticket is held as it has to be", async || {
        let ticket = read(app, ticket).await;
        ticket["orderId"] == holder && ticket["version"] == version
    })
    .await;
}

/// Waits until all that was published is applied or put aside.
pub(crate) async fn are_marked(app: &TestApp, orders: &[&Order], version: i64) {
    let marks = app.place.database().await.collection::<Document>("inbox");
    let keys: Vec<_> = orders.iter().map(|order| order.id.as_str()).collect();
    eventually("each order is applied", async || {
        let applied = doc! { "_id.key": { "$in": &keys }, "version": version };
        marks.count_documents(applied).await.unwrap() == keys.len() as u64
    })
    .await;
}

pub(crate) async fn dead_letters(app: &TestApp) -> Vec<Document> {
    let letters = app
        .place
        .database()
        .await
        .collection::<Document>("deadLetters");
    letters
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

pub(crate) async fn finish(orders: Orders, app: TestApp) {
    orders.remove(&app.place).await;
    app.finish().await;
}

#[tokio::test]
async fn an_order_reserves_a_ticket_and_its_cancellation_gives_it_back() {
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let mut order = Order::of(&ticket);
    let change = || app.put("alice", &ticket, json!({ "title": "other", "price": 1 }));

    let trace = trace_of(&order);
    orders.publish(&mut order, CREATED).await;
    is_held(&app, &ticket, Some(&order), 1).await;
    assert_eq!(change().await.status(), 409);
    let listed = app.get("/api/tickets").await.json::<Value>().await.unwrap();
    assert_eq!(listed, json!([]), "no one else can order it");

    orders.publish(&mut order, CANCELLED).await;
    is_held(&app, &ticket, None, 2).await;
    assert_eq!(change().await.status(), 200);

    let events = app.place.events().await;
    let said = |event: &Document| {
        let data = event.get_document("data").unwrap();
        let order = data.get_str("orderId").ok().map(str::to_owned);
        (
            text_of(event, "type"),
            event.get_i64("version").unwrap(),
            order,
        )
    };
    let updated =
        |version, order: Option<&String>| ("ticket.updated".to_owned(), version, order.cloned());
    assert_eq!(
        events.iter().skip(1).map(said).collect::<Vec<_>>(),
        [
            updated(1, Some(&order.id)),
            updated(2, None),
            updated(3, None)
        ]
    );
    assert_eq!(
        text_of(&events[1], "traceparent")[3..35],
        trace[3..35],
        "the trace of the order's request goes on"
    );
    finish(orders, app).await;
}

fn text_of(document: &Document, member: &str) -> String {
    document.get_str(member).unwrap().to_owned()
}

#[tokio::test]
async fn an_order_that_neither_holds_a_ticket_nor_waits_for_it_changes_nothing_by_its_cancellation()
{
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let other = app.create().await;
    let (mut holder, mut stranger) = (Order::of(&ticket), Order::of(&other));
    orders.publish(&mut holder, CREATED).await;
    orders.publish(&mut stranger, CREATED).await;
    is_held(&app, &ticket, Some(&holder), 1).await;

    // It cancels what it never ordered.
    let mut mistaken = stranger.as_if_of(&ticket);
    orders.publish(&mut mistaken, CANCELLED).await;
    are_marked(&app, &[&stranger], 1).await;
    is_held(&app, &ticket, Some(&holder), 1).await;
    is_held(&app, &other, Some(&stranger), 1).await;
    finish(orders, app).await;
}

#[tokio::test]
async fn a_third_type_changes_nothing_and_leaves_no_hole() {
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let mut order = Order::of(&ticket);
    for r#type in [CREATED, "order.completed", CANCELLED] {
        orders.publish(&mut order, r#type).await;
    }
    is_held(&app, &ticket, None, 2).await;
    assert_eq!(app.place.events().await.len(), 3);
    finish(orders, app).await;
}

#[tokio::test]
async fn messages_without_headers_are_taken_by_their_subject_and_payload() {
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let mut order = Order::of(&ticket);
    orders.publish_without_headers(&mut order, CREATED).await;
    is_held(&app, &ticket, Some(&order), 1).await;
    orders.publish_without_headers(&mut order, CANCELLED).await;
    is_held(&app, &ticket, None, 2).await;
    finish(orders, app).await;
}

#[tokio::test]
async fn an_order_of_a_ticket_that_is_not_there_waits_for_an_operator_and_holds_up_no_other() {
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let (mut lost, mut order) = (Order::of(&ObjectId::new().to_hex()), Order::of(&ticket));
    orders.publish(&mut lost, CREATED).await;
    orders.publish(&mut lost, CANCELLED).await;
    orders.publish(&mut order, CREATED).await;
    is_held(&app, &ticket, Some(&order), 1).await;
    eventually("both are put aside", async || {
        dead_letters(&app).await.len() == 2
    })
    .await;
    let letters = dead_letters(&app).await;
    let of = |state: &str| {
        letters
            .iter()
            .find(|letter| text_of(letter, "state") == state)
            .unwrap()
    };
    assert_eq!(text_of(of("dead"), "reason"), "there is no such ticket");
    assert_eq!(
        of("waiting")
            .get_document("_id")
            .unwrap()
            .get_i64("version")
            .unwrap(),
        1
    );
    finish(orders, app).await;
}

#[tokio::test]
async fn changes_and_orders_of_one_ticket_at_once_skip_no_version() {
    let (orders, app) = Orders::and_tickets().await;
    let ticket = app.create().await;
    let mut all: Vec<_> = (0..10).map(|_| Order::of(&ticket)).collect();
    let changes = async {
        for price in 1..=20 {
            let change = json!({ "title": "concert", "price": price });
            let status = app.put("alice", &ticket, change).await.status();
            assert!(status == 200 || status == 409, "{status}");
        }
    };
    let ordered = async {
        for order in &mut all {
            orders.publish(order, CREATED).await;
            orders.publish(order, CANCELLED).await;
        }
    };
    tokio::join!(changes, ordered);
    are_marked(&app, &all.iter().collect::<Vec<_>>(), 1).await;
    let stored = read(&app, &ticket).await;
    assert_eq!(stored["orderId"], Value::Null);
    let versions: Vec<_> = app
        .place
        .events()
        .await
        .iter()
        .map(|event| event.get_i64("version").unwrap())
        .collect();
    let last = stored["version"].as_i64().unwrap();
    assert_eq!(versions, (0..=last).collect::<Vec<_>>());
    finish(orders, app).await;
}

#[tokio::test]
async fn without_the_stream_of_the_orders_the_service_is_ready_and_consumes_it_when_it_is_there() {
    let place = Place::new().consuming();
    let app = TestApp::start_at(place).await;
    let ticket = app.create().await;
    let orders = Orders::at(&app.place).await;
    let mut order = Order::of(&ticket);
    orders.publish(&mut order, CREATED).await;
    is_held(&app, &ticket, Some(&order), 1).await;
    finish(orders, app).await;
}
