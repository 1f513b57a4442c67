//! What a sibling publishes: orders of tickets, on a stream of the test's own.

use async_nats::{
    HeaderMap,
    jetstream::{self, Context, stream::Config},
};
use bson::oid::ObjectId;
use serde_json::{Value, json};

use crate::harness::{Place, TestApp};

/// The stream of the orders, and how they are published there.
pub(crate) struct Orders {
    jetstream: Context,
    prefix: String,
}

/// Of one ticket; its events so far.
pub(crate) struct Order {
    pub(crate) id: String,
    ticket: String,
    version: i64,
}

impl Order {
    pub(crate) fn of(ticket: &str) -> Self {
        Self {
            id: ObjectId::new().to_hex(),
            ticket: ticket.to_owned(),
            version: 0,
        }
    }

    /// The same, as if it had ordered another ticket.
    pub(crate) fn as_if_of(&self, ticket: &str) -> Self {
        Self {
            id: self.id.clone(),
            ticket: ticket.to_owned(),
            version: self.version,
        }
    }
}

impl Orders {
    /// The service, and a stream of orders that it consumes.
    pub(crate) async fn and_tickets() -> (Self, TestApp) {
        let place = Place::new().consuming();
        let orders = Self::at(&place).await;
        (orders, TestApp::start_at(place).await)
    }

    pub(crate) async fn at(place: &Place) -> Self {
        let orders = Self::without_stream(place).await;
        let config = Config {
            name: place.orders_stream(),
            subjects: vec![format!("{}.order.>", place.name)],
            ..Config::default()
        };
        orders.jetstream.create_stream(config).await.unwrap();
        orders
    }

    pub(crate) async fn without_stream(place: &Place) -> Self {
        let nats = async_nats::connect(&place.nats_url).await.unwrap();
        Self {
            jetstream: jetstream::new(nats),
            prefix: place.name.clone(),
        }
    }

    /// Publishes the next event of an order as its service does.
    pub(crate) async fn publish(&self, order: &mut Order, r#type: &str) {
        let payload = payload(order, r#type);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", ObjectId::new().to_hex());
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-type", r#type);
        headers.insert("ce-subject", order.id.as_str());
        headers.insert("ce-keyversion", order.version.to_string());
        headers.insert("traceparent", trace_of(order));
        self.send(order, r#type, headers, &payload).await;
        order.version += 1;
    }

    /// As a person does with the NATS command line.
    pub(crate) async fn publish_without_headers(&self, order: &mut Order, r#type: &str) {
        let payload = payload(order, r#type);
        self.send(order, r#type, HeaderMap::new(), &payload).await;
        order.version += 1;
    }

    async fn send(&self, order: &Order, r#type: &str, headers: HeaderMap, payload: &Value) {
        let subject = format!("{}.{type}.{}", self.prefix, order.id);
        let payload = serde_json::to_vec(payload).unwrap().into();
        let published = self
            .jetstream
            .publish_with_headers(subject, headers, payload);
        published.await.unwrap().await.unwrap();
    }

    /// Lets the stream lose what it holds, as if by a limit.
    pub(crate) async fn lose(&self, place: &Place) {
        let stream = self.jetstream.get_stream(place.orders_stream()).await;
        let stream = stream.unwrap();
        let limited = Config {
            max_messages: 1_000,
            ..stream.cached_info().config.clone()
        };
        self.jetstream.update_stream(limited).await.unwrap();
        stream.purge().await.unwrap();
    }

    /// How many messages the consumer has not acknowledged.
    pub(crate) async fn unacknowledged(&self, place: &Place) -> u64 {
        let stream = self.jetstream.get_stream(place.orders_stream()).await;
        let name = format!("{}-tickets-reservations", place.name);
        let info = stream.unwrap().consumer_info(name).await.unwrap();
        info.num_pending + info.num_ack_pending as u64
    }

    /// Takes the stream away.
    pub(crate) async fn remove(self, place: &Place) {
        self.jetstream
            .delete_stream(place.orders_stream())
            .await
            .unwrap();
    }
}

/// The trace of the request that the order's next event comes from.
pub(crate) fn trace_of(order: &Order) -> String {
    format!("00-{:0>32}-{:016x}-01", order.id, order.version + 1)
}

fn payload(order: &Order, r#type: &str) -> Value {
    let (_, status) = r#type.split_once('.').unwrap();
    json!({
        "id": order.id, "version": order.version, "status": status, "userId": "bob", "expiresAt": null,
        "ticket": { "id": order.ticket, "price": 20.5 },
    })
}
