//! What the tickets' service publishes, on a stream of the test's own.

use async_nats::{
    HeaderMap,
    jetstream::{self, Context, stream::Config},
};
use bson::oid::ObjectId;
use serde_json::json;
use testbed::Place;

/// The stream of the tickets.
pub(crate) struct Tickets {
    jetstream: Context,
    prefix: String,
}

/// A ticket as its service has it.
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) price: f64,
    pub(crate) order_id: Option<String>,
}

impl Ticket {
    pub(crate) fn new() -> Self {
        Self {
            id: ObjectId::new().to_hex(),
            version: 0,
            price: 20.5,
            order_id: None,
        }
    }

    /// The same, one version later.
    pub(crate) fn changed(&self, price: f64, order_id: Option<&str>) -> Self {
        Self {
            id: self.id.clone(),
            version: self.version + 1,
            price,
            order_id: order_id.map(str::to_owned),
        }
    }
}

pub(crate) fn stream_of(place: &Place) -> String {
    format!("{}-tickets", place.name)
}

impl Tickets {
    pub(crate) async fn at(place: &Place) -> Self {
        let jetstream = jetstream::new(async_nats::connect(&place.nats_url).await.unwrap());
        let config = Config {
            name: stream_of(place),
            subjects: vec![format!("{}.ticket.>", place.name)],
            ..Config::default()
        };
        jetstream.create_stream(config).await.unwrap();
        Self {
            jetstream,
            prefix: place.name.clone(),
        }
    }

    pub(crate) async fn publish(&self, ticket: &Ticket) {
        let is_new = ticket.version == 0;
        let r#type = if is_new {
            "ticket.created"
        } else {
            "ticket.updated"
        };
        let Ticket {
            id,
            version,
            price,
            order_id,
        } = ticket;
        let payload = json!({
            "id": id, "version": version, "title": "concert", "price": price, "userId": "alice", "orderId": order_id,
        });
        self.publish_as(r#type, id, *version, payload.to_string())
            .await;
    }

    pub(crate) async fn publish_as(&self, r#type: &str, key: &str, version: i64, payload: String) {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", ObjectId::new().to_hex());
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-type", r#type);
        headers.insert("ce-subject", key);
        headers.insert("ce-keyversion", version.to_string());
        let subject = format!("{}.{type}.{key}", self.prefix);
        let published = self
            .jetstream
            .publish_with_headers(subject, headers, payload.into());
        published.await.unwrap().await.unwrap();
    }

    pub(crate) async fn remove(&self, place: &Place) {
        self.jetstream
            .delete_stream(stream_of(place))
            .await
            .unwrap();
    }
}
