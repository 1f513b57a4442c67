//! Every query of the domain: documents and the session, no HTTP.

use bson::{Document, doc, oid::ObjectId};
use db::Db;
use futures_util::TryStreamExt;
use mongodb::{ClientSession, Collection, IndexModel, error::Result as MongoResult};

use super::{
    model::Ticket,
    pages::{Cursor, Page},
};

/// Makes the collection and its index.
///
/// # Errors
/// The driver's.
pub async fn prepare(db: &Db) -> MongoResult<()> {
    let newest_available = IndexModel::builder()
        .keys(doc! { "orderId": 1, "createdAt": -1, "_id": -1 })
        .build();
    db.ensure_collection("tickets", [newest_available]).await
}

fn tickets(db: &Db) -> Collection<Ticket> {
    db.collection("tickets")
}

pub(super) async fn insert(
    db: &Db,
    session: &mut ClientSession,
    ticket: &Ticket,
) -> MongoResult<()> {
    let tickets = tickets(db);
    tickets.insert_one(ticket).session(session).await.map(drop)
}

/// The ticket as the transaction sees it.
pub(super) async fn find_in(
    db: &Db,
    session: &mut ClientSession,
    id: ObjectId,
) -> MongoResult<Option<Ticket>> {
    let tickets = tickets(db);
    tickets.find_one(doc! { "_id": id }).session(session).await
}

pub(super) async fn update(
    db: &Db,
    session: &mut ClientSession,
    ticket: &Ticket,
) -> MongoResult<()> {
    let set = doc! { "$set": {
        "title": &ticket.title, "priceCents": ticket.price_cents,
        "version": ticket.version, "updatedAt": ticket.updated_at,
    } };
    let tickets = tickets(db);
    let update = tickets.update_one(doc! { "_id": ticket.id }, set);
    update.session(session).await.map(drop)
}

pub(super) async fn find(db: &Db, id: ObjectId) -> Result<Option<Ticket>, db::Error> {
    let tickets = tickets(db);
    db.read(async move { tickets.find_one(doc! { "_id": id }).await })
        .await
}

/// The tickets of a page, newest first, and where the next page begins if there is one.
pub(super) async fn list(db: &Db, page: Page) -> Result<(Vec<Ticket>, Option<Cursor>), db::Error> {
    let mut filter = doc! { "orderId": null };
    if let Some(Cursor { created_at, id }) = page.after {
        let behind: Vec<Document> = vec![
            doc! { "createdAt": { "$lt": created_at } },
            doc! { "_id": { "$lt": id } },
        ];
        filter.extend(doc! { "createdAt": { "$lte": created_at }, "$or": behind });
    }
    // One more than asked for tells whether there is a next page.
    let (tickets, limit) = (tickets(db), page.limit + 1);
    let found = async move {
        let newest_first = doc! { "createdAt": -1, "_id": -1 };
        let found = tickets.find(filter).sort(newest_first).limit(limit);
        found.await?.try_collect().await
    };
    let mut tickets: Vec<Ticket> = db.read(found).await?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let has_more = tickets.len() > limit;
    tickets.truncate(limit);
    let last = tickets.last().filter(|_| has_more);
    let next = last.map(|last| Cursor {
        created_at: last.created_at,
        id: last.id,
    });
    Ok((tickets, next))
}
