//! A ticket as it comes in, as it is stored, and as it goes out.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Deserializer, Serialize};
use validator::{Validate, ValidationError};

use super::price::{self, Price};

const MAX_TITLE_CHARACTERS: usize = 100;

/// What a client may say of a ticket. Members of another type are `None`, so that both are told at once.
#[derive(Debug, Clone, Deserialize, Validate)]
pub struct NewTicket {
    #[serde(default, deserialize_with = "trimmed")]
    #[validate(
        required(message = "title must be a string of 1 to 100 characters, without control characters"),
        custom(function = title_is_fit, message = "title must be a string of 1 to 100 characters, without control characters")
    )]
    title: Option<String>,
    #[serde(default, deserialize_with = "price::lenient")]
    #[validate(required(
        message = "price must be a number above 0 and at most 1000000, with at most two decimals"
    ))]
    price: Option<Price>,
}

impl NewTicket {
    /// Title and price; `None` before it was validated.
    pub(super) fn into_parts(self) -> Option<(String, Price)> {
        self.title.zip(self.price)
    }
}

fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?
        .as_str()
        .map(|title| title.trim().to_owned()))
}

fn title_is_fit(title: &str) -> Result<(), ValidationError> {
    let length = title.chars().count();
    let fits = (1..=MAX_TITLE_CHARACTERS).contains(&length) && !title.contains(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(ValidationError::new("title"))
    }
}

/// A ticket as the database holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    pub title: String,
    pub price_cents: i64,
    pub user_id: String,
    /// Set while an order holds the ticket. Whoever sets it also counts `version` up and records an event: clients
    /// compare versions, and so do consumers.
    pub order_id: Option<String>,
    pub version: i64,
    pub created_at: DateTime,
    pub updated_at: DateTime,
}

/// A ticket as clients see it, and as events carry it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TicketView<'a> {
    id: String,
    title: &'a str,
    price: Option<Price>,
    user_id: &'a str,
    order_id: Option<&'a str>,
    version: i64,
}

impl Ticket {
    pub(super) fn view(&self) -> TicketView<'_> {
        TicketView {
            id: self.id.to_hex(),
            title: &self.title,
            price: Price::from_cents(self.price_cents),
            user_id: &self.user_id,
            order_id: self.order_id.as_deref(),
            version: self.version,
        }
    }
}
