//! The domain: the contract of the order routes.

use bson::{DateTime, Document, doc, oid::ObjectId};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{assert_problem, text};

use crate::{harness::App, published::Ticket};

#[tokio::test]
async fn an_order_is_created_read_and_told_as_the_event_has_it() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let created = app.order("alice", &ticket).await;
    assert_eq!(created.status(), 201);
    assert_eq!(created.headers()["etag"], "\"0\"");
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let order: Value = created.json().await.unwrap();
    let id = text(&order["id"]);
    assert_eq!(location, format!("/api/orders/{id}"));
    let mut expected = json!({
        "id": id, "version": 0, "status": "created", "userId": "alice", "expiresAt": null,
        "ticket": { "id": ticket.id, "price": 20.5 },
    });
    assert_eq!(order, expected);
    let read = app.get(&location, "alice").await;
    assert_eq!(read.headers()["etag"], "\"0\"");
    assert_eq!(read.json::<Value>().await.unwrap(), expected);

    let cancelled = app.cancel("alice", &id).await;
    assert_eq!(cancelled.status(), 200);
    assert_eq!(cancelled.headers()["etag"], "\"1\"");
    let cancelled: Value = cancelled.json().await.unwrap();
    let created = expected.clone();
    expected["version"] = json!(1);
    expected["status"] = json!("cancelled");
    assert_eq!(cancelled, expected);
    assert_eq!(
        app.get(&location, "alice")
            .await
            .json::<Value>()
            .await
            .unwrap(),
        expected
    );

    app.place.drained().await;
    let messages = app.place.messages().await;
    assert_eq!(messages.len(), 2);
    let told = [
        ("order.created", "0", created),
        ("order.cancelled", "1", cancelled),
    ];
    for (message, (r#type, version, order)) in messages.iter().zip(told) {
        let subject = format!("{}.{type}.{id}", app.place.name);
        assert_eq!(message.subject.as_str(), subject);
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(payload, order);
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
        assert_eq!(header("ce-source"), Some("/orders"));
        assert_eq!(header("ce-type"), Some(r#type));
        assert_eq!(header("ce-keyversion"), Some(version));
    }
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_that_is_not_known_here_is_404_and_no_id_is_400() {
    let app = App::start().await;
    let unknown = app.order("alice", &Ticket::new()).await;
    let problem = assert_problem(unknown, 404).await;
    assert_eq!(problem["type"], "/problems/no-such-ticket");
    for body in [
        json!({}),
        json!({ "ticketId": 7 }),
        json!({ "ticketId": "nonsense" }),
        json!({ "ticketId": null }),
    ] {
        let problem = assert_problem(app.post("alice", body).await, 400).await;
        assert_eq!(problem["errors"][0]["field"], "ticketId");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1);
    }
    assert_eq!(app.count("orders").await, 0);
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_that_an_order_holds_is_409_for_everybody_until_the_order_is_cancelled() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let first = app.ordered("alice", &ticket).await;
    for user in ["alice", "bob"] {
        let problem = assert_problem(app.order(user, &ticket).await, 409).await;
        assert_eq!(problem["type"], "/problems/ticket-reserved");
        let told = app.get("/problems/ticket-reserved", user).await;
        assert_eq!(told.json::<Value>().await.unwrap()["status"], 409);
    }
    assert_eq!(app.cancel("alice", &first).await.status(), 200);
    app.ordered("bob", &ticket).await;
    app.finish().await;
}

#[tokio::test]
async fn an_order_is_its_users_own_and_to_others_there_is_none() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let id = app.ordered("alice", &ticket).await;
    let path = format!("/api/orders/{id}");
    assert_problem(app.get(&path, "bob").await, 404).await;
    assert_problem(app.cancel("bob", &id).await, 404).await;
    for unknown in ["nonsense", "507f1f77bcf86cd799439011"] {
        assert_problem(
            app.get(&format!("/api/orders/{unknown}"), "alice").await,
            404,
        )
        .await;
        assert_problem(app.cancel("alice", unknown).await, 404).await;
    }
    assert_eq!(
        app.get("/api/orders", "bob")
            .await
            .json::<Value>()
            .await
            .unwrap(),
        json!([])
    );
    let order: Value = app.get(&path, "alice").await.json().await.unwrap();
    assert_eq!(order["status"], "created");
    for (method, path) in [
        (Method::GET, "/api/orders"),
        (Method::GET, &*path),
        (Method::POST, "/api/orders"),
        (Method::DELETE, &path),
    ] {
        let stranger = app
            .request(method, path, "alice")
            .header("authorization", "");
        let stranger = stranger.json(&json!({ "ticketId": ticket.id }));
        assert_problem(stranger.send().await.unwrap(), 401).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn the_users_orders_are_listed_newest_first_on_pages() {
    let app = App::start().await;
    let mut expected = Vec::new();
    for number in 0..5 {
        let ticket = app.ticket().await;
        let id = app.ordered("alice", &ticket).await;
        if number == 2 {
            assert_eq!(app.cancel("alice", &id).await.status(), 200);
        }
        expected.insert(0, id);
        let others = app.ticket().await;
        app.ordered("bob", &others).await;
    }
    let (mut listed, mut page) = (Vec::new(), Some("/api/orders?limit=2".to_owned()));
    while let Some(address) = page.take() {
        let answer = app.get(&address, "alice").await;
        assert_eq!(answer.status(), 200);
        let link = answer
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap());
        page = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        let orders: Vec<Value> = answer.json().await.unwrap();
        assert!((1..=2).contains(&orders.len()));
        listed.extend(orders.iter().map(|order| text(&order["id"])));
    }
    assert_eq!(listed, expected);
    app.finish().await;
}

/// Saves cancelled orders without their events, a millisecond each.
async fn plant(app: &App, user: &str, count: i64) {
    let order = |number| {
        let moment = DateTime::from_millis(number);
        doc! {
            "userId": user, "status": "cancelled", "ticketId": ObjectId::new(), "price": 20.5,
            "version": 1_i64, "createdAt": moment, "updatedAt": moment,
        }
    };
    let orders = app.place.database().await.collection::<Document>("orders");
    orders.insert_many((0..count).map(order)).await.unwrap();
}

#[tokio::test]
async fn a_page_costs_its_own_orders_and_neither_those_of_others_nor_what_is_older() {
    const LIMIT: i32 = 10;
    let app = App::start().await;
    for user in ["alice", "bob"] {
        plant(&app, user, 500).await;
    }
    let deep = app.get("/api/orders?limit=200", "alice").await;
    let second = deep.headers()["link"].to_str().unwrap();
    let second = second.split(['<', '>']).nth(1).unwrap();
    let second = second.replace("limit=200", "limit=10");
    let database = app.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    for path in ["/api/orders?limit=10", &second] {
        let page = app.get(path, "alice").await;
        let orders: Vec<Value> = page.json().await.unwrap();
        assert_eq!(orders.len(), 10);
    }
    let place = &app.place;
    place.pages_cost_what_they_show("orders", 2, LIMIT).await;
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_is_cancelled_again_stays_as_it_is_and_no_event_tells_of_it() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let id = app.ordered("alice", &ticket).await;
    let first: Value = app.cancel("alice", &id).await.json().await.unwrap();
    for _ in 0..2 {
        let again = app.cancel("alice", &id).await;
        assert_eq!(again.status(), 200);
        assert_eq!(again.headers()["etag"], "\"1\"");
        assert_eq!(again.json::<Value>().await.unwrap(), first);
    }
    assert_eq!(app.place.events().await.len(), 2);
    app.finish().await;
}
