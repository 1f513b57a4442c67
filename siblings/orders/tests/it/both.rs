//! Both services as processes of their own, on one MongoDB and one NATS: what README's second walk shows.

use bson::{Document, doc, oid::ObjectId};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use testbed::{
    Nats, Place, Process, assert_problem, check_message, eventually, mongo_uri, sibling, start,
    text,
};

use crate::harness::{JWT_KEY, command, token};

/// Tickets and orders, which hear of each other by NATS alone.
struct Both {
    nats: Nats,
    places: [Place; 2],
    tickets: String,
    orders: String,
    _processes: [Process; 2],
}

impl Both {
    async fn start() -> Self {
        let mut nats = Nats::absent();
        nats.start().await;
        let places = [(); 2].map(|()| Place::at(&mongo_uri(), &nats.url()));
        let [tickets, orders] = &places;
        let program = sibling("tickets");
        let mut command_of_tickets = tickets.command(program.to_str().unwrap(), JWT_KEY);
        command_of_tickets.env("RESERVATIONS_STREAM", &orders.name);
        let mut command_of_orders = command(orders);
        command_of_orders.env("TICKETS_STREAM", &tickets.name);
        command_of_orders.env("NATS_SUBJECT_PREFIX", &tickets.name);
        let (of_tickets, tickets) = start(&mut command_of_tickets).await;
        let (of_orders, orders) = start(&mut command_of_orders).await;
        Self {
            nats,
            tickets: format!("{tickets}/api/tickets"),
            orders: format!("{orders}/api/orders"),
            places,
            _processes: [of_tickets, of_orders],
        }
    }

    /// A ticket that both know; its address and id.
    async fn ticket(&self) -> (String, String) {
        let concert = json!({ "title": "concert", "price": 20.5 });
        let created = ask(Method::POST, &self.tickets, &concert).await;
        assert_eq!(created.status(), 201);
        let id = text(&created.json::<Value>().await.unwrap()["id"]);
        let replica = self.places[1]
            .database()
            .await
            .collection::<Document>("tickets");
        let by_id = doc! { "_id": ObjectId::parse_str(&id).unwrap() };
        eventually("the replica has the ticket", async || {
            let known = replica.count_documents(by_id.clone()).await;
            known.unwrap() == 1
        })
        .await;
        (format!("{}/{id}", self.tickets), id)
    }

    async fn order(&self, ticket: &str) -> String {
        let created = ask(Method::POST, &self.orders, &json!({ "ticketId": ticket })).await;
        assert_eq!(created.status(), 201);
        text(&created.json::<Value>().await.unwrap()["id"])
    }

    async fn cancel(&self, order: &str) {
        let address = format!("{}/{order}", self.orders);
        let cancelled = ask(Method::DELETE, &address, &Value::Null).await;
        assert_eq!(cancelled.status(), 200);
    }

    async fn is_listed(&self, ticket: &str) -> bool {
        let list = ask(Method::GET, &self.tickets, &Value::Null).await;
        let list: Vec<Value> = list.json().await.unwrap();
        list.iter().any(|listed| listed["id"] == ticket)
    }

    /// Waits until the ticket's service says that the order holds it, or none.
    async fn is_held_by(&self, address: &str, order: Option<&str>) {
        eventually("the ticket is held as it is to be", async || {
            let ticket = ask(Method::GET, address, &Value::Null).await;
            let ticket: Value = ticket.json().await.unwrap();
            ticket["orderId"] == json!(order)
        })
        .await;
    }

    /// Every test's last step: nothing is left unsent or put aside, no version of a ticket is left out, and the data goes.
    async fn finish(self) {
        let events = self.places[0].events().await;
        for (version, event) in (0..).zip(&events) {
            assert_eq!(event.get_i64("version").unwrap(), version);
        }
        for place in &self.places {
            place.drained().await;
            let letters = place.database().await.collection::<Document>("deadLetters");
            assert_eq!(letters.count_documents(doc! {}).await.unwrap(), 0);
            place.remove().await;
        }
    }
}

async fn ask(method: Method, address: &str, body: &Value) -> Response {
    let request = testbed::client().request(method, address);
    let request = request.bearer_auth(token("alice"));
    let request = if body.is_null() {
        request
    } else {
        request.json(body)
    };
    request.send().await.unwrap()
}

async fn asyncapi_of(service: &str) -> Value {
    let (host, _) = service.split_once("/api/").unwrap();
    let document = ask(Method::GET, &format!("{host}/asyncapi.json"), &Value::Null).await;
    document.json().await.unwrap()
}

#[tokio::test]
async fn every_message_of_the_two_is_as_the_asyncapi_documents_of_both_say() {
    let both = Both::start().await;
    let (address, ticket) = both.ticket().await;
    let order = both.order(&ticket).await;
    both.is_held_by(&address, Some(&order)).await;
    both.cancel(&order).await;
    both.is_held_by(&address, None).await;

    let documents = [
        asyncapi_of(&both.tickets).await,
        asyncapi_of(&both.orders).await,
    ];
    let prefix = &both.places[0].name;
    let mut channels = Vec::new();
    for (sender, receiver) in [(0, 1), (1, 0)] {
        both.places[sender].drained().await;
        for message in both.places[sender].messages().await {
            let sent = check_message(&documents[sender], "send", prefix, &message);
            let received = check_message(&documents[receiver], "receive", prefix, &message);
            channels.push((sent, received));
        }
    }
    let expected = [
        ("ticket.created", "tickets.ticket.created"),
        ("ticket.updated", "tickets.ticket.updated"),
        ("ticket.updated", "tickets.ticket.updated"),
        ("order.created", "reservations.order.created"),
        ("order.cancelled", "reservations.order.cancelled"),
    ];
    let expected = expected.map(|(sent, received)| (sent.to_owned(), received.to_owned()));
    assert_eq!(channels, expected);
    both.finish().await;
}

#[tokio::test]
async fn an_order_reserves_its_ticket_and_its_cancellation_gives_it_back() {
    let both = Both::start().await;
    let (address, ticket) = both.ticket().await;
    assert!(both.is_listed(&ticket).await);

    let order = both.order(&ticket).await;
    both.is_held_by(&address, Some(&order)).await;
    assert!(!both.is_listed(&ticket).await);
    let play = json!({ "title": "play", "price": 30 });
    assert_problem(ask(Method::PUT, &address, &play).await, 409).await;

    both.cancel(&order).await;
    both.is_held_by(&address, None).await;
    assert!(both.is_listed(&ticket).await);
    assert_eq!(ask(Method::PUT, &address, &play).await.status(), 200);
    let changed: Value = ask(Method::GET, &address, &Value::Null)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&changed["version"], &changed["price"]),
        (&json!(3), &json!(30.0))
    );
    both.finish().await;
}

#[tokio::test]
async fn orders_go_on_while_nats_is_away_and_the_tickets_follow_when_it_is_back() {
    let mut both = Both::start().await;
    let (address, ticket) = both.ticket().await;

    both.nats.kill();
    let order = both.order(&ticket).await;
    assert!(both.is_listed(&ticket).await);
    both.nats.start().await;
    both.is_held_by(&address, Some(&order)).await;
    assert!(!both.is_listed(&ticket).await);
    let play = json!({ "title": "play", "price": 30 });
    assert_problem(ask(Method::PUT, &address, &play).await, 409).await;

    both.nats.kill();
    both.cancel(&order).await;
    // Nobody has told us yet that the ticket is free, and it will be this order's.
    let second = both.order(&ticket).await;
    assert!(!both.is_listed(&ticket).await);
    both.nats.start().await;
    both.is_held_by(&address, Some(&second)).await;

    both.nats.kill();
    both.cancel(&second).await;
    assert_problem(ask(Method::PUT, &address, &play).await, 409).await;
    both.nats.start().await;
    both.is_held_by(&address, None).await;
    assert!(both.is_listed(&ticket).await);
    assert_eq!(ask(Method::PUT, &address, &play).await.status(), 200);
    both.finish().await;
}
