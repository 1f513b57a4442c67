//! Many at once: what holds one by one holds for all of them together.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Response;
use testbed::assert_problem;
use web::CHANGES_AT_ONCE;

use crate::harness::App;

/// How many of each status.
fn counted(answers: &[Response]) -> BTreeMap<u16, usize> {
    let mut counted = BTreeMap::new();
    for answer in answers {
        *counted.entry(answer.status().as_u16()).or_default() += 1;
    }
    counted
}

#[tokio::test]
async fn of_many_orders_of_one_ticket_at_once_exactly_one_is_made() {
    let app = App::start_instances(2, &[]).await;
    let users: Vec<_> = (0..16).map(|number| format!("user-{number}")).collect();
    for round in 1..=5 {
        let ticket = app.ticket().await;
        let answers = join_all(users.iter().map(|user| app.order(user, &ticket))).await;
        assert_eq!(counted(&answers), BTreeMap::from([(201, 1), (409, 15)]));
        for refused in answers.into_iter().filter(|answer| answer.status() == 409) {
            let problem = assert_problem(refused, 409).await;
            assert_eq!(problem["type"], "/problems/ticket-reserved");
        }
        assert_eq!(app.count("orders").await, round);
    }
    app.finish().await;
}

#[tokio::test]
async fn of_many_orders_of_one_user_at_once_as_many_are_made_as_a_user_may_have() {
    let app = App::start_instances(2, &[("MAX_ACTIVE_ORDERS", "3")]).await;
    let mut tickets = Vec::new();
    for _ in 0..12 {
        tickets.push(app.ticket().await);
    }
    let orders = tickets.iter().map(|ticket| app.order("alice", ticket));
    let orders = stream::iter(orders).buffer_unordered(CHANGES_AT_ONCE);
    let answers: Vec<_> = orders.collect().await;
    assert_eq!(counted(&answers), BTreeMap::from([(201, 3), (409, 9)]));
    for refused in answers.into_iter().filter(|answer| answer.status() == 409) {
        let problem = assert_problem(refused, 409).await;
        assert_eq!(problem["type"], "/problems/too-many-orders");
    }
    assert_eq!(app.count("orders").await, 3);
    app.finish().await;
}

#[tokio::test]
async fn an_order_too_many_is_refused_without_a_write() {
    let app = App::start_with(&[("MAX_ACTIVE_ORDERS", "1")]).await;
    let (first, second) = (app.ticket().await, app.ticket().await);
    app.ordered("alice", &first).await;
    let database = app.place.database().await;
    let customers = database.collection::<Document>("customers");
    let alice = async || customers.find_one(doc! { "_id": "alice" }).await.unwrap();
    let before = alice().await;
    assert!(before.is_some());
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let problem = assert_problem(app.order("alice", &second).await, 409).await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(problem["type"], "/problems/too-many-orders");
    assert_eq!(alice().await, before);
    // One that is rolled back would be in the way of others all the same.
    let profile = database.collection::<Document>("system.profile");
    let asked = async |op: &str, collection: &str| {
        let of_it = doc! { "op": op, "ns": format!("{}.{collection}", app.place.name) };
        profile.count_documents(of_it).await.unwrap()
    };
    assert!(asked("query", "orders").await > 0);
    assert_eq!(asked("update", "customers").await, 0);
    app.finish().await;
}

#[tokio::test]
async fn a_cancelled_order_makes_room_for_another_and_others_have_room_of_their_own() {
    let app = App::start_with(&[("MAX_ACTIVE_ORDERS", "1")]).await;
    let (first, second) = (app.ticket().await, app.ticket().await);
    let id = app.ordered("alice", &first).await;
    assert_problem(app.order("alice", &second).await, 409).await;
    assert_eq!(app.cancel("alice", &id).await.status(), 200);
    app.ordered("alice", &second).await;
    app.ordered("bob", &first).await;
    app.finish().await;
}

#[tokio::test]
async fn of_many_cancellations_at_once_one_is_told() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let id = app.ordered("alice", &ticket).await;
    let cancellations = (0..CHANGES_AT_ONCE).map(|_| app.cancel("alice", &id));
    let answers = join_all(cancellations).await;
    assert_eq!(counted(&answers), BTreeMap::from([(200, CHANGES_AT_ONCE)]));
    assert_eq!(app.place.events().await.len(), 2);
    app.finish().await;
}
