//! Every query of the domain. Writes save the ticket and its event in one transaction: both, or neither.

use axum_extra::headers::IfMatch;
use bson::{DateTime, Document, doc, oid::ObjectId};
use futures_util::{FutureExt, TryStreamExt};
use mongodb::{IndexModel, error::Result as MongoResult};

use super::{
    events,
    model::{NewTicket, Ticket},
    pages::{Cursor, Page},
    routes::{created, etag, updated},
};
use crate::{
    db::Db,
    error::Error,
    idempotency::{self, Attempt, Outcome},
    outbox,
};

const TICKETS: &str = "tickets";
pub(super) const NOT_THE_OWNER: &str = "only the owner may change it";
pub(super) const RESERVED: &str = "the ticket is reserved by an order";

/// Makes the collection and its index.
///
/// # Errors
/// The driver's.
pub async fn prepare(db: &Db) -> MongoResult<()> {
    let newest_available = IndexModel::builder()
        .keys(doc! { "orderId": 1, "createdAt": -1, "_id": -1 })
        .build();
    db.ensure_collection(TICKETS, [newest_available]).await
}

pub(super) async fn create(
    db: &Db,
    new: NewTicket,
    user_id: String,
    traceparent: Option<String>,
    attempt: Option<Attempt>,
) -> Result<Outcome<Ticket>, Error> {
    let (title, price) = new.into_parts().ok_or_else(unvalidated)?;
    let now = DateTime::now();
    let ticket = Ticket {
        id: ObjectId::new(),
        title,
        price_cents: price.cents(),
        user_id,
        order_id: None,
        version: 0,
        created_at: now,
        updated_at: now,
    };
    let event = events::saved(&ticket, ObjectId::new(), traceparent)
        .map_err(|error| Error::Internal(error.into()))?;
    let (tickets, events) = (db.collection::<Ticket>(TICKETS), outbox::events(db));
    idempotency::transaction(db, attempt, created, move |session| {
        let (tickets, events, ticket, event) = (
            tickets.clone(),
            events.clone(),
            ticket.clone(),
            event.clone(),
        );
        async move {
            tickets.insert_one(&ticket).session(&mut *session).await?;
            outbox::record(&events, session, &event).await?;
            Ok(Ok(ticket))
        }
        .boxed()
    })
    .await
}

/// What an update wants, and of which ticket.
#[derive(Clone)]
pub(super) struct Update {
    pub(super) id: ObjectId,
    pub(super) new: NewTicket,
    pub(super) user_id: String,
    pub(super) if_match: Option<IfMatch>,
    pub(super) traceparent: Option<String>,
    pub(super) attempt: Option<Attempt>,
}

/// Reads, checks and writes in one transaction, so that of two updates at once the second sees the first.
pub(super) async fn update(db: &Db, mut update: Update) -> Result<Outcome<Ticket>, Error> {
    let (tickets, events) = (db.collection::<Ticket>(TICKETS), outbox::events(db));
    let now = DateTime::now();
    let event_id = ObjectId::new();
    idempotency::transaction(db, update.attempt.take(), updated, move |session| {
        let (tickets, events, update) = (tickets.clone(), events.clone(), update.clone());
        async move {
            let Some(current) = tickets.find_one(doc! { "_id": update.id }).session(&mut *session).await? else {
                return Ok(Err(Error::NotFound));
            };
            let traceparent = update.traceparent.clone();
            let next = match changed(&current, update, now) {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(Ok(current)),
                Err(refused) => return Ok(Err(refused)),
            };
            let set = doc! { "title": &next.title, "priceCents": next.price_cents, "version": next.version, "updatedAt": now };
            tickets.update_one(doc! { "_id": next.id }, doc! { "$set": set }).session(&mut *session).await?;
            let event = events::saved(&next, event_id, traceparent)?;
            outbox::record(&events, session, &event).await?;
            Ok(Ok(next))
        }
        .boxed()
    })
    .await
}

/// The ticket after the update; `None` where nothing changes: a version that says nothing new would make
/// consumers wait for an event that never comes.
fn changed(current: &Ticket, update: Update, now: DateTime) -> Result<Option<Ticket>, Error> {
    // 403 before 409: strangers learn nothing.
    if current.user_id != update.user_id {
        return Err(Error::Forbidden(NOT_THE_OWNER));
    }
    if current.order_id.is_some() {
        return Err(Error::Conflict(RESERVED));
    }
    if update
        .if_match
        .is_some_and(|wanted| !wanted.precondition_passes(&etag(current)))
    {
        return Err(Error::PreconditionFailed);
    }
    let (title, price) = update.new.into_parts().ok_or_else(unvalidated)?;
    if current.title == title && current.price_cents == price.cents() {
        return Ok(None);
    }
    let next = Ticket {
        title,
        price_cents: price.cents(),
        version: current.version + 1,
        updated_at: now,
        ..current.clone()
    };
    Ok(Some(next))
}

pub(super) async fn find(db: &Db, id: ObjectId) -> Result<Ticket, Error> {
    let tickets = db.collection::<Ticket>(TICKETS);
    let found = async move { tickets.find_one(doc! { "_id": id }).await };
    db.read(found).await?.ok_or(Error::NotFound)
}

/// The tickets of a page, newest first, and where the next page begins if there is one.
pub(super) async fn list(db: &Db, page: Page) -> Result<(Vec<Ticket>, Option<Cursor>), Error> {
    let mut filter = doc! { "orderId": null };
    if let Some(Cursor { created_at, id }) = page.after {
        let behind: Vec<Document> = vec![
            doc! { "createdAt": { "$lt": created_at } },
            doc! { "_id": { "$lt": id } },
        ];
        filter.extend(doc! { "createdAt": { "$lte": created_at }, "$or": behind });
    }
    // One more than asked for tells whether there is a next page.
    let (tickets, limit) = (db.collection::<Ticket>(TICKETS), page.limit + 1);
    let found = async move {
        let found = tickets
            .find(filter)
            .sort(doc! { "createdAt": -1, "_id": -1 });
        found.limit(limit).await?.try_collect().await
    };
    let mut tickets: Vec<Ticket> = db.read(found).await?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = tickets.len() > limit;
    tickets.truncate(limit);
    let last = tickets.last().filter(|_| more);
    let next = last.map(|last| Cursor {
        created_at: last.created_at,
        id: last.id,
    });
    Ok((tickets, next))
}

fn unvalidated() -> Error {
    Error::Internal(anyhow::anyhow!(
        "a ticket reached the store that was not validated"
    ))
}
