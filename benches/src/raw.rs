//! The limits: what driver and broker can do in minimal loops, without HTTP and without the outbox.

use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::{HeaderMap, jetstream};
use bson::{DateTime, Document, doc, oid::ObjectId};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream::FuturesUnordered};
use mongodb::{Database, IndexModel, options::IndexOptions};

use crate::load::{self, Load};

/// A ticket and its event, as the service saves them.
pub(crate) fn documents(id: ObjectId, version: i64, sent: &str) -> (Document, Document) {
    let (key, now) = (id.to_hex(), DateTime::now());
    let ticket = doc! {
        "_id": id, "title": "concert", "priceCents": 2050_i64, "userId": "bench", "orderId": null,
        "version": version, "createdAt": now, "updatedAt": now,
    };
    let r#type = if version == 0 {
        "ticket.created"
    } else {
        "ticket.updated"
    };
    let event = doc! {
        "_id": ObjectId::new(), "type": r#type, "subject": format!("{type}.{key}"), "key": &key, "version": version,
        "data": {
            "id": &key, "title": "concert", "price": 20.5, "userId": "bench", "orderId": null, "version": version,
        },
        "sent": sent, "createdAt": now,
    };
    (ticket, event)
}

/// The collections with the service's indexes.
pub(crate) async fn prepare(database: &Database) -> anyhow::Result<()> {
    let index = |keys: Document, options: IndexOptions| {
        IndexModel::builder().keys(keys).options(options).build()
    };
    let partial = IndexOptions::builder()
        .name("unsent".to_owned())
        .partial_filter_expression(doc! { "sent": "NO" })
        .build();
    let events = [
        index(doc! { "key": 1, "version": 1, "_id": 1 }, partial),
        index(
            doc! { "key": 1, "version": 1 },
            IndexOptions::builder().unique(true).build(),
        ),
        index(
            doc! { "sentAt": 1 },
            IndexOptions::builder()
                .expire_after(Duration::from_secs(604_800))
                .build(),
        ),
    ];
    database
        .collection::<Document>("events")
        .create_indexes(events)
        .await?;
    let newest = index(
        doc! { "orderId": 1, "createdAt": -1, "_id": -1 },
        IndexOptions::default(),
    );
    database
        .collection::<Document>("tickets")
        .create_index(newest)
        .await?;
    Ok(())
}

/// Ticket and event in one transaction, by so many writers.
pub(crate) async fn transactions(
    database: &Database,
    writers: usize,
    lasts: Duration,
) -> anyhow::Result<Load> {
    let states = (0..writers).map(|_| database.clone()).collect();
    load::run(states, lasts, move |database| async move {
        let (ticket, event) = documents(ObjectId::new(), 0, "NO");
        transaction(&database, &ticket, &event).await?;
        Ok(database)
    })
    .await
}

/// Saves both.
pub(crate) async fn transaction(
    database: &Database,
    ticket: &Document,
    event: &Document,
) -> anyhow::Result<()> {
    let mut session = database.client().start_session().await?;
    let (tickets, events) = (
        database.collection::<Document>("tickets"),
        database.collection::<Document>("events"),
    );
    session
        .start_transaction()
        .and_run(
            (tickets, events, ticket, event),
            |session, (tickets, events, ticket, event)| {
                async move {
                    tickets.insert_one(*ticket).session(&mut *session).await?;
                    events.insert_one(*event).session(session).await.map(drop)
                }
                .boxed()
            },
        )
        .await?;
    Ok(())
}

/// Marks events as sent.
pub(crate) async fn mark(database: &Database, ids: Vec<ObjectId>) -> anyhow::Result<()> {
    let update = doc! { "$set": { "sent": "YES" }, "$currentDate": { "sentAt": true } };
    let events = database.collection::<Document>("events");
    events
        .update_many(doc! { "_id": { "$in": ids } }, update)
        .await?;
    Ok(())
}

/// Reads, counts up and writes one ticket, with its event, in one transaction: the driver retries conflicts.
pub(crate) async fn updates(
    database: &Database,
    id: ObjectId,
    writers: usize,
    lasts: Duration,
) -> anyhow::Result<Load> {
    let states = (0..writers).map(|_| database.clone()).collect();
    load::run(states, lasts, move |database| async move {
        let mut session = database.client().start_session().await?;
        let (tickets, events) = (
            database.collection::<Document>("tickets"),
            database.collection::<Document>("events"),
        );
        session
            .start_transaction()
            .and_run((tickets, events), move |session, (tickets, events)| {
                async move {
                    let by_id = doc! { "_id": id };
                    let ticket = tickets
                        .find_one(by_id.clone())
                        .session(&mut *session)
                        .await?;
                    let version = ticket
                        .and_then(|ticket| ticket.get_i64("version").ok())
                        .unwrap_or_default()
                        + 1;
                    let update =
                        doc! { "$set": { "version": version, "updatedAt": DateTime::now() } };
                    tickets
                        .update_one(by_id, update)
                        .session(&mut *session)
                        .await?;
                    let (_, event) = documents(id, version, "NO");
                    events.insert_one(event).session(session).await.map(drop)
                }
                .boxed()
            })
            .await?;
        Ok(database)
    })
    .await
}

pub(crate) async fn find_ones(
    database: &Database,
    ids: &'static [ObjectId],
    readers: usize,
    lasts: Duration,
) -> anyhow::Result<Load> {
    let states = (0..readers).map(|_| database.clone()).collect();
    load::run(states, lasts, move |database| async move {
        let id = ids[fastrand::usize(..ids.len())];
        let found = database
            .collection::<Document>("tickets")
            .find_one(doc! { "_id": id })
            .await?;
        found.context("no such ticket")?;
        Ok(database)
    })
    .await
}

/// What the limit's messages carry beside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// The id for de-duplication.
    Id,
    /// All that the service sends: the event's attributes, and the sequence that the stream has to compare.
    Whole,
}

pub(crate) fn headers(event: &Document, of: Headers) -> anyhow::Result<HeaderMap> {
    let id = event.get_object_id("_id")?.to_hex();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.as_str());
    if of == Headers::Whole {
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", id.as_str());
        headers.insert("ce-source", "/tickets");
        headers.insert("ce-type", event.get_str("type")?);
        headers.insert("ce-subject", event.get_str("key")?);
        headers.insert(
            "ce-time",
            event.get_datetime("createdAt")?.try_to_rfc3339_string()?,
        );
        headers.insert("ce-keyversion", event.get_i64("version")?.to_string());
        headers.insert("content-type", "application/json");
    }
    Ok(headers)
}

/// Publishes and marks all that is unsent: a cursor, 512 publications in flight, marks of 1,000, two at once.
/// Events a second.
pub(crate) async fn drain(
    database: &Database,
    jetstream: &jetstream::Context,
    of: Headers,
) -> anyhow::Result<f64> {
    const IN_FLIGHT: usize = 512;
    const MARK: usize = 1_000;
    let events = database.collection::<Document>("events");
    let began = Instant::now();
    let mut cursor = events
        .find(doc! { "sent": "NO" })
        .sort(doc! { "key": 1, "version": 1, "_id": 1 })
        .batch_size(1_000)
        .await?;
    let (mut acks, mut marks) = (FuturesUnordered::new(), FuturesUnordered::new());
    let (mut acked, mut done, mut at_end) = (Vec::with_capacity(MARK), 0, false);
    while !at_end || !acks.is_empty() || !acked.is_empty() || !marks.is_empty() {
        if acked.len() >= MARK || (at_end && acks.is_empty() && !acked.is_empty()) {
            if marks.len() >= 2 {
                marks.try_next().await?;
            }
            let ids = std::mem::take(&mut acked);
            done += ids.len();
            marks.push(mark(database, ids));
        }
        tokio::select! {
            Some(ack) = acks.next() => acked.push(ack?),
            Some(marked) = marks.next() => marked?,
            event = cursor.try_next(), if !at_end && acks.len() < IN_FLIGHT => match event? {
                None => at_end = true,
                Some(event) => {
                    let id = event.get_object_id("_id")?;
                    let headers = headers(&event, of)?;
                    let payload = serde_json::to_vec(event.get_document("data")?)?;
                    let ack = jetstream.publish_with_headers(event.get_str("subject")?.to_owned(), headers, payload.into()).await?;
                    acks.push(async move { ack.await.map(|_| id) });
                }
            },
            else => {}
        }
    }
    Ok(f64::from(u32::try_from(done)?) / began.elapsed().as_secs_f64())
}
