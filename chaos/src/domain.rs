//! All that chaos knows of tickets: what it sends, what must be refused and how, and how to read what was stored. Another service
//! replaces this file; the rest speaks of documents, keys, versions, events and users. `orders` knows the service that orders them.

pub(crate) mod orders;

use bson::oid::ObjectId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::history::{Document, Intent, Outcome};

pub(crate) use orders::ORDERS;

/// One of the services: its instances, and where that lies by which it is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    /// The first word of its events' types and subjects.
    pub(crate) noun: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) database: &'static str,
    /// How the names of its instances begin.
    pub(crate) instances: &'static str,
    /// The collection that holds the documents, and how to read one.
    pub(crate) collection: &'static str,
    pub(crate) document: fn(&bson::Document) -> anyhow::Result<Document>,
    /// Its own.
    pub(crate) settings: &'static [(&'static str, &'static str)],
}

pub(crate) const TICKETS: Service = Service {
    noun: "ticket",
    stream: "TICKETS",
    database: "tickets",
    instances: "instance-",
    collection: "tickets",
    document,
    settings: &[],
};
/// The type of the event that a creation records, and of one that a change records.
pub(crate) const CREATED: &str = "ticket.created";
pub(crate) const CHANGED: &str = "ticket.updated";
/// How many users write. Whoever creates a ticket owns it, and nobody else may change it.
pub(crate) const USERS: usize = 5;
/// Where documents are made, and listed.
pub(crate) const PATH: &str = "/api/tickets";

const PRICE_AT_FIRST: f64 = 20.5;
const PRICE_LATER: f64 = 2.5;
/// The first word of the subjects of orders' events, and the consumer of ours that applies them.
pub(crate) const ORDER: &str = "order";
pub(crate) const RESERVATIONS: &str = "reservations";
/// The member of a document, and of an event's data, that says which order holds it.
pub(crate) const HOLDER: &str = "orderId";

/// The type and the payload of an order's event: version 0 creates it, version 1 cancels it.
pub(crate) fn order_event(order: &str, version: i64, document: &str) -> (String, Value) {
    let status = if version == 0 { "created" } else { "cancelled" };
    let payload = json!({
        "id": order, "version": version, "status": status, "userId": user_name(0), "expiresAt": null,
        "ticket": { "id": document, "price": PRICE_AT_FIRST },
    });
    (format!("{ORDER}.{status}"), payload)
}

/// What a stored ticket consists of.
const MEMBERS: [&str; 9] = [
    "_id",
    "title",
    "priceCents",
    "userId",
    "orderId",
    "waitingOrders",
    "version",
    "createdAt",
    "updatedAt",
];

/// A request, by whom, and how it must be answered.
pub(crate) struct Write {
    pub(crate) operation: u64,
    pub(crate) intent: Intent,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) user: usize,
    pub(crate) if_match: Option<i64>,
    pub(crate) body: Value,
    /// Members that the data of its event must have, with their values.
    pub(crate) says: Value,
    /// The status that the answer must have.
    pub(crate) expected: u16,
    /// Those that it may have instead, because of what others did.
    pub(crate) or_refused: &'static [u16],
}

impl Write {
    pub(crate) fn keyless(self) -> Self {
        let intent = Intent::Keyless;
        Self { intent, ..self }
    }

    pub(crate) fn twice(self) -> Self {
        let intent = Intent::Twice;
        Self { intent, ..self }
    }

    /// To how many instances it is sent at once.
    pub(crate) fn at_once(&self, tries: u32) -> u32 {
        let is_twice = tries == 0 && self.intent == Intent::Twice;
        if is_twice { 2 } else { 1 }
    }

    /// Whether a refusal with this status is due to what others did, and may end.
    pub(crate) fn is_refused_for_others(&self, status: u16) -> bool {
        status == 409 || self.or_refused.contains(&status)
    }

    pub(crate) fn if_match(self, version: i64) -> Self {
        Self {
            intent: Intent::IfMatch,
            if_match: Some(version),
            ..self
        }
    }
}

/// Whose token it is that `user` sends.
pub(crate) fn user_name(user: usize) -> String {
    format!("user-{user}")
}

/// Creates a document of `user`. No two writes of different numbers say the same.
pub(crate) fn creation(number: u64, user: usize) -> Write {
    let body = body(number, PRICE_AT_FIRST);
    Write {
        operation: number,
        intent: Intent::Creation,
        method: Method::POST,
        path: PATH.to_owned(),
        user,
        if_match: None,
        says: of_user(&body, user),
        body,
        expected: 201,
        or_refused: &[],
    }
}

/// Changes a document, as its owner may.
pub(crate) fn change(number: u64, key: &str, owner: usize) -> Write {
    let body = body(number, PRICE_LATER);
    Write {
        intent: Intent::Change,
        method: Method::PUT,
        path: format!("{PATH}/{key}"),
        says: of_user(&body, owner),
        body,
        expected: 200,
        ..creation(number, owner)
    }
}

/// Changes a document to what the answer to an earlier write said that it is.
pub(crate) fn no_change(number: u64, key: &str, owner: usize, known: &Value) -> Write {
    let body = json!({ "title": known["title"], "price": known["price"] });
    Write {
        intent: Intent::NoChange,
        says: of_user(&body, owner),
        body,
        ..change(number, key, owner)
    }
}

/// Changes of a document that must be refused, each for another reason.
pub(crate) fn refused_changes(number: u64, key: &str, owner: usize) -> [Write; 3] {
    let change = || Write {
        intent: Intent::Refusal,
        ..change(number, key, owner)
    };
    let without_price = Write {
        body: body(number, 0.0),
        expected: 400,
        ..change()
    };
    let of_another_user = Write {
        user: (owner + 1) % USERS,
        expected: 403,
        ..change()
    };
    let of_another_version = Write {
        if_match: Some(1_000_000),
        expected: 412,
        ..change()
    };
    [without_price, of_another_user, of_another_version]
}

fn body(number: u64, price: f64) -> Value {
    json!({ "title": format!("write {number}"), "price": price })
}

fn of_user(body: &Value, user: usize) -> Value {
    json!({ "title": body["title"], "price": body["price"], "userId": user_name(user) })
}

/// What the body of a successful answer says; none where it does not say which version of which document was saved.
pub(crate) fn saved(body: &Value) -> Option<Outcome> {
    let (key, version) = read(body)?;
    Some(Outcome::Accepted { key, version })
}

/// Of which document, and which version, a body tells.
pub(crate) fn read(body: &Value) -> Option<(String, i64)> {
    Some((body["id"].as_str()?.to_owned(), body["version"].as_i64()?))
}

/// Reads a stored ticket.
///
/// # Errors
/// When it is not one of the service's.
fn document(stored: &bson::Document) -> anyhow::Result<Document> {
    let key = stored.get_object_id("_id").map(ObjectId::to_hex)?;
    let version = stored.get_i64("version")?;
    let order_id = serde_json::to_value(stored.get("orderId"))?;
    let says = json!({
        "id": key,
        "title": stored.get_str("title")?,
        "price": stored.get_i64("priceCents")? as f64 / 100.0,
        "userId": stored.get_str("userId")?,
        "orderId": order_id,
        "version": version,
    });
    let waiting = stored.get_array("waitingOrders").into_iter().flatten();
    let is_strange = |name: &&String| !MEMBERS.contains(&name.as_str());
    Ok(Document {
        key,
        version,
        says,
        made_ms: stored.get_datetime("createdAt")?.timestamp_millis(),
        changed_ms: stored.get_datetime("updatedAt")?.timestamp_millis(),
        waiting: waiting
            .filter_map(|it| Some(it.as_str()?.to_owned()))
            .collect(),
        strange: stored.keys().filter(is_strange).cloned().collect(),
    })
}
