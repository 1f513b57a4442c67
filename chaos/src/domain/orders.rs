//! All that chaos knows of the service that orders tickets: what its clients send, and how to read what it stored.

use bson::oid::ObjectId;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ORDER, Service, USERS, Write, creation, user_name};
use crate::history::{Document, Intent, Known};

pub(crate) const ORDERS: Service = Service {
    noun: ORDER,
    stream: "ORDERS",
    database: "orders",
    instances: "orders-",
    collection: "orders",
    document,
    // None is refused for that.
    settings: &[("MAX_ACTIVE_ORDERS", "1000")],
};
/// Where orders are placed.
pub(crate) const PATH: &str = "/api/orders";
/// The collection of what it knows of the documents that are ordered.
pub(crate) const REPLICA: &str = "tickets";

const MEMBERS: [&str; 8] = [
    "_id",
    "userId",
    "status",
    "ticketId",
    "price",
    "version",
    "createdAt",
    "updatedAt",
];

/// Orders a document, which another order may have, or which the service may not know yet.
pub(crate) fn placement(number: u64, user: usize, document: &str) -> Write {
    Write {
        path: PATH.to_owned(),
        body: json!({ "ticketId": document }),
        says: json!({ "status": "created", "userId": user_name(user), "/ticket/id": document }),
        or_refused: &[404, 409],
        ..creation(number, user)
    }
}

/// Cancels an order, as its owner may.
pub(crate) fn cancellation(number: u64, order: &str, owner: usize) -> Write {
    Write {
        intent: Intent::Change,
        method: Method::DELETE,
        path: format!("{PATH}/{order}"),
        body: Value::Null,
        says: json!({ "status": "cancelled", "userId": user_name(owner) }),
        or_refused: &[],
        expected: 200,
        ..placement(number, owner, "")
    }
}

/// Must be refused: without a document, of one that there never was, and the cancellation of another user's order.
pub(crate) fn refused(number: u64, order: &str, owner: usize) -> [Write; 3] {
    let refused = |write: Write, expected| Write {
        intent: Intent::Refusal,
        or_refused: &[],
        expected,
        ..write
    };
    let of_nobody = format!("{number:024x}");
    let stranger = (owner + 1) % USERS;
    [
        refused(placement(number, owner, "no id"), 400),
        refused(placement(number, owner, &of_nobody), 404),
        refused(cancellation(number, order, stranger), 404),
    ]
}

/// Which document an order is of, by what it says.
pub(crate) fn of_document(says: &Value) -> Option<&str> {
    says["ticket"]["id"].as_str()
}

/// What the service must know of a document, by what the document says.
pub(crate) fn must_know(says: &Value) -> Value {
    json!({ "price": says["price"], "orderId": says["orderId"] })
}

/// Reads what it knows of a document.
///
/// # Errors
/// When it is not one of the service's.
pub(crate) fn known(stored: &bson::Document) -> anyhow::Result<Known> {
    Ok(Known {
        key: stored.get_object_id("_id").map(ObjectId::to_hex)?,
        version: stored.get_i64("version")?,
        says: json!({
            "price": stored.get_f64("price")?,
            "orderId": serde_json::to_value(stored.get("orderId"))?,
        }),
    })
}

fn document(stored: &bson::Document) -> anyhow::Result<Document> {
    let key = stored.get_object_id("_id").map(ObjectId::to_hex)?;
    let version = stored.get_i64("version")?;
    let says = json!({
        "id": key,
        "version": version,
        "status": stored.get_str("status")?,
        "userId": stored.get_str("userId")?,
        "expiresAt": null,
        "ticket": { "id": stored.get_object_id("ticketId")?.to_hex(), "price": stored.get_f64("price")? },
    });
    let is_strange = |name: &&String| !MEMBERS.contains(&name.as_str());
    Ok(Document {
        key,
        version,
        says,
        made_ms: stored.get_datetime("createdAt")?.timestamp_millis(),
        changed_ms: stored.get_datetime("updatedAt")?.timestamp_millis(),
        waiting: Vec::new(),
        strange: stored.keys().filter(is_strange).cloned().collect(),
    })
}
