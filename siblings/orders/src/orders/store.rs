//! Every query of the domain: documents and the session, no HTTP.

use bson::{Document, doc, oid::ObjectId, serialize_to_document};
use db::{Db, Page, Place, newest_first};
use futures_util::future::BoxFuture;
use messaging::Received;
use mongodb::{ClientSession, Collection, IndexModel, options::IndexOptions};

use super::{
    model::{Order, Status},
    tickets::Ticket,
};

const ORDERS: &str = "orders";
const TICKETS: &str = "tickets";
const CUSTOMERS: &str = "customers";

/// Makes the collections and their indexes.
///
/// # Errors
/// The driver's.
pub fn collections(db: &Db) -> BoxFuture<'_, mongodb::error::Result<()>> {
    let mut newest_of_user = doc! { "userId": 1 };
    newest_of_user.extend(newest_first());
    let newest_of_user = IndexModel::builder().keys(newest_of_user).build();
    // One active order for each ticket.
    let of_ticket = index_of_active(doc! { "ticketId": 1 }, true);
    let of_user = index_of_active(doc! { "userId": 1 }, false);
    Box::pin(async move {
        let indexes = [newest_of_user, of_ticket, of_user];
        db.ensure_collection(ORDERS, indexes).await?;
        db.ensure_collection(TICKETS, []).await?;
        db.ensure_collection(CUSTOMERS, []).await
    })
}

/// It grows with the active orders, not with the history.
fn index_of_active(keys: Document, is_unique: bool) -> IndexModel {
    let options = IndexOptions::builder().unique(is_unique);
    let options = options.partial_filter_expression(active()).build();
    IndexModel::builder().keys(keys).options(options).build()
}

/// As [`Status::Created`] is stored.
fn active() -> Document {
    doc! { "status": "created" }
}

fn orders(db: &Db) -> Collection<Order> {
    db.collection(ORDERS)
}

/// Keeps what is known of a ticket in place of what was.
pub(super) async fn keep_ticket(
    db: &Db,
    session: &mut ClientSession,
    id: ObjectId,
    ticket: &Received<Ticket>,
) -> mongodb::error::Result<()> {
    let mut known = serialize_to_document(&ticket.data)?;
    known.insert("version", ticket.version);
    let tickets = db.collection::<Document>(TICKETS);
    let kept = tickets.replace_one(doc! { "_id": id }, known);
    kept.upsert(true).session(session).await.map(drop)
}

pub(super) async fn find_ticket(
    db: &Db,
    session: &mut ClientSession,
    id: ObjectId,
) -> mongodb::error::Result<Option<Ticket>> {
    let tickets = db.collection(TICKETS);
    tickets.find_one(doc! { "_id": id }).session(session).await
}

/// Whether an order holds the ticket. Of two transactions that find none, the unique index lets one commit; the other meets a conflict, and
/// runs again.
pub(super) async fn is_reserved(
    db: &Db,
    session: &mut ClientSession,
    id: ObjectId,
    ticket: &Ticket,
) -> mongodb::error::Result<bool> {
    let mut of_ticket = active();
    of_ticket.insert("ticketId", id);
    let orders = orders(db);
    let ours = orders.find_one(of_ticket).session(&mut *session).await?;
    let (None, Some(holder)) = (&ours, &ticket.order_id) else {
        return Ok(ours.is_some());
    };
    // One that is cancelled here gives the ticket back: its service passes it to the next order, in whichever order it hears of the two.
    let Ok(holder) = ObjectId::parse_str(holder) else {
        return Ok(true);
    };
    let holder = find_in_transaction(db, session, holder).await?;
    Ok(holder.is_none_or(|order| order.status != Status::Cancelled))
}

/// Whether the user may have another active order, where so many are the most. Two transactions that count at once would both see the same
/// and both commit (write skew), so each that goes on writes the user's document as well: one of them meets a conflict, and runs again.
pub(super) async fn take_place(
    db: &Db,
    session: &mut ClientSession,
    user_id: &str,
    most: u64,
) -> mongodb::error::Result<bool> {
    let mut of_user = active();
    of_user.insert("userId", user_id);
    let (orders, customers) = (orders(db), db.collection::<Document>(CUSTOMERS));
    let active = orders.count_documents(of_user).session(&mut *session);
    if active.await? >= most {
        return Ok(false);
    }
    let one_more = doc! { "$inc": { "counted": 1_i64 } };
    let taken = customers.update_one(doc! { "_id": user_id }, one_more);
    taken.upsert(true).session(session).await.map(|_| true)
}

pub(super) async fn find_in_transaction(
    db: &Db,
    session: &mut ClientSession,
    id: ObjectId,
) -> mongodb::error::Result<Option<Order>> {
    let orders = orders(db);
    orders.find_one(doc! { "_id": id }).session(session).await
}

/// Saves an order that is new, or has changed.
pub(super) async fn save(
    db: &Db,
    session: &mut ClientSession,
    order: &Order,
) -> mongodb::error::Result<()> {
    let orders = orders(db);
    let saved = orders.replace_one(doc! { "_id": order.id }, order);
    saved.upsert(true).session(session).await.map(drop)
}

/// The user's order of this id.
pub(super) async fn find(
    db: &Db,
    id: ObjectId,
    user_id: String,
) -> Result<Option<Order>, db::Error> {
    let orders = orders(db);
    let of_user = doc! { "_id": id, "userId": user_id };
    db.read(async move { orders.find_one(of_user).await }).await
}

/// The user's orders: those of a page, and behind which the next page begins if there is one.
pub(super) async fn of_user(
    db: &Db,
    user_id: String,
    page: Page,
) -> Result<(Vec<Order>, Option<Place>), db::Error> {
    db.page(ORDERS, doc! { "userId": user_id }, page).await
}
