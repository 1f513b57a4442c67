//! The replica of the tickets: what it takes of their stream, and what an order makes of it while it is behind.

use serde_json::Value;
use testbed::{assert_problem, eventually};

use crate::{harness::App, published::Ticket};

#[tokio::test]
async fn the_newest_version_of_a_ticket_stays_whatever_comes_after_it() {
    let app = App::start().await;
    let first = Ticket::new();
    let second = first.changed(30.0, None);
    let third = second.changed(19.99, None);
    app.hears_of(&third).await;
    app.tickets.publish(&second).await;
    app.tickets.publish(&first).await;
    // The last of the stream: what was before it has had its turn.
    app.ticket().await;
    eventually("all of the stream is applied", async || {
        app.count("tickets").await == 2
    })
    .await;
    let known = app.known(&first.id).await.unwrap();
    assert_eq!(known.get_i64("version").unwrap(), 2);
    assert_eq!(known.get_f64("price").unwrap(), 19.99);
    let order: Value = app.order("alice", &first).await.json().await.unwrap();
    assert_eq!(order["ticket"]["price"], 19.99);
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_that_another_service_has_reserved_is_409_until_it_is_given_back() {
    let app = App::start().await;
    let mut ticket = app.ticket().await;
    for others in ["507f1f77bcf86cd799439011", "of another form"] {
        ticket = ticket.changed(20.5, Some(others));
        app.hears_of(&ticket).await;
        let problem = assert_problem(app.order("alice", &ticket).await, 409).await;
        assert_eq!(problem["type"], "/problems/ticket-reserved");
    }
    app.hears_of(&ticket.changed(20.5, None)).await;
    app.ordered("alice", &ticket).await;
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_whose_cancelled_order_the_replica_still_names_can_be_ordered() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let first = app.ordered("alice", &ticket).await;
    let reserved = ticket.changed(20.5, Some(&first));
    app.hears_of(&reserved).await;
    assert_problem(app.order("bob", &ticket).await, 409).await;
    assert_eq!(app.cancel("alice", &first).await.status(), 200);
    let second = app.ordered("bob", &ticket).await;
    // The service of the tickets hears of it, and passes the ticket on.
    app.hears_of(&reserved.changed(20.5, Some(&second))).await;
    assert_problem(app.order("alice", &ticket).await, 409).await;
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_ticket_is_put_aside_and_what_is_not_known_is_passed_over() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    app.tickets
        .publish_as("ticket.archived", &ticket.id, 1, "{}".to_owned())
        .await;
    app.tickets
        .publish_as(
            "ticket.created",
            "no-id",
            0,
            r#"{"price": 1, "orderId": null}"#.to_owned(),
        )
        .await;
    eventually("it is a dead letter", async || {
        app.count("deadLetters").await == 1
    })
    .await;
    app.hears_of(&ticket.changed(1.0, None).changed(1.0, None))
        .await;
    assert_eq!(app.count("deadLetters").await, 1);
    assert_eq!(app.count("tickets").await, 1);
    app.finish().await;
}
