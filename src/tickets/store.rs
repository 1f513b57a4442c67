//! Every query of the domain: documents and the session, no HTTP.

use bson::{doc, oid::ObjectId};
use db::{Db, Page, Place, newest_first};
use futures_util::future::BoxFuture;
use mongodb::{ClientSession, Collection, IndexModel};

use super::model::Ticket;

const TICKETS: &str = "tickets";

/// Makes the collection and its index.
///
/// # Errors
/// The driver's.
pub fn collections(db: &Db) -> BoxFuture<'_, mongodb::error::Result<()>> {
    let mut available = doc! { "orderId": 1 };
    available.extend(newest_first());
    let newest_available = IndexModel::builder().keys(available).build();
    Box::pin(db.ensure_collection(TICKETS, [newest_available]))
}

fn tickets(db: &Db) -> Collection<Ticket> {
    db.collection(TICKETS)
}

pub(super) async fn insert(
    db: &Db,
    session: &mut ClientSession,
    ticket: &Ticket,
) -> mongodb::error::Result<()> {
    let tickets = tickets(db);
    tickets.insert_one(ticket).session(session).await.map(drop)
}

/// The ticket as the transaction sees it.
pub(super) async fn find_in_transaction(
    db: &Db,
    session: &mut ClientSession,
    id: ObjectId,
) -> mongodb::error::Result<Option<Ticket>> {
    let tickets = tickets(db);
    tickets.find_one(doc! { "_id": id }).session(session).await
}

pub(super) async fn update(
    db: &Db,
    session: &mut ClientSession,
    ticket: &Ticket,
) -> mongodb::error::Result<()> {
    let mut update = doc! { "$set": {
        "title": &ticket.title, "priceCents": ticket.price_cents, "orderId": ticket.order_id.as_deref(),
        "version": ticket.version, "updatedAt": ticket.updated_at,
    } };
    // Only where there are any, and no longer.
    if ticket.waiting_orders.is_empty() {
        update.insert("$unset", doc! { "waitingOrders": 1 });
    } else {
        let set = update.get_document_mut("$set");
        set.expect("it stands above")
            .insert("waitingOrders", &ticket.waiting_orders);
    }
    let tickets = tickets(db);
    let update = tickets.update_one(doc! { "_id": ticket.id }, update);
    update.session(session).await.map(drop)
}

pub(super) async fn find(db: &Db, id: ObjectId) -> Result<Option<Ticket>, db::Error> {
    let tickets = tickets(db);
    db.read(async move { tickets.find_one(doc! { "_id": id }).await })
        .await
}

/// The tickets that no order holds: those of a page, and behind which the next page begins if there is one.
pub(super) async fn available(
    db: &Db,
    page: Page,
) -> Result<(Vec<Ticket>, Option<Place>), db::Error> {
    db.page(TICKETS, doc! { "orderId": null }, page).await
}
