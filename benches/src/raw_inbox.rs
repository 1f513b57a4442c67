//! The limit of the inbox: a loop that fetches, does the same transaction for each message, and acknowledges; as many keys in flight as the
//! service has, each in its order.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use async_nats::jetstream::{self, Message, consumer::pull};
use bson::{DateTime, Document, doc, oid::ObjectId};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use mongodb::Database;

use crate::{raw, servers::ORDERS};

/// As many as the service.
const AT_ONCE: usize = 32;
/// Messages that wait for their key.
const HELD: usize = 2_000;

/// Applies so many messages of the stream; how many a second.
pub(crate) async fn apply(
    database: &Database,
    jetstream: &jetstream::Context,
    messages: usize,
) -> anyhow::Result<f64> {
    let stream = jetstream.get_stream(ORDERS).await?;
    let config = pull::Config {
        durable_name: Some("raw".to_owned()),
        max_ack_pending: 100_000,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut delivered = consumer
        .stream()
        .max_messages_per_batch(HELD)
        .messages()
        .await?;
    let began = Instant::now();
    let (mut running, mut done, mut held) = (FuturesUnordered::new(), 0, 0);
    // Messages behind the one that is under way, by key; keys that are free, and what waits there.
    let mut busy = HashMap::<String, VecDeque<Message>>::new();
    let mut free = VecDeque::<(String, Message)>::new();
    while done < messages {
        while running.len() < AT_ONCE
            && let Some((key, message)) = free.pop_front()
        {
            let database = database.clone();
            running.push(async move {
                transaction(&database, &key, &message).await?;
                message
                    .ack()
                    .await
                    .map_err(|error| anyhow::anyhow!(error))?;
                anyhow::Ok(key)
            });
        }
        tokio::select! {
            Some(key) = running.next(), if !running.is_empty() => {
                let key = key?;
                (done, held) = (done + 1, held - 1);
                match busy.get_mut(&key).and_then(VecDeque::pop_front) {
                    Some(next) => free.push_back((key, next)),
                    None => drop(busy.remove(&key)),
                }
            }
            Some(message) = delivered.next(), if held < HELD => {
                let message = message?;
                held += 1;
                let key = message.subject.rsplit('.').next().unwrap_or_default().to_owned();
                if let Some(behind) = busy.get_mut(&key) {
                    behind.push_back(message);
                } else {
                    busy.insert(key.clone(), VecDeque::new());
                    free.push_back((key, message));
                }
            }
        }
    }
    Ok(messages as f64 / began.elapsed().as_secs_f64())
}

/// Mark, ticket and event, as the service reads and writes them.
async fn transaction(database: &Database, key: &str, message: &Message) -> anyhow::Result<()> {
    let header = |name: &str| {
        let headers = message.headers.as_ref();
        headers
            .and_then(|headers| headers.get(name))
            .map(ToString::to_string)
    };
    let version: i64 = header("ce-keyversion").unwrap_or_default().parse()?;
    let ticket = ObjectId::parse_str(key)?;
    let order_id = (version % 2 == 0).then(|| key.to_owned());
    let id = doc! { "consumer": "raw", "key": key };
    let (_, event) = raw::documents(ticket, version + 1, "NO");
    let mark = doc! { "version": version, "messageId": header("Nats-Msg-Id") };
    let collection = |name: &str| database.collection::<Document>(name);
    let of = (
        collection("inbox"),
        collection("tickets"),
        collection("events"),
    );
    let mut session = database.client().start_session().await?;
    let context = (of, id, mark, event, ticket, order_id, version);
    let done = session.start_transaction().and_run(context, |session, context| {
        async move {
            let ((inbox, tickets, events), id, mark, event, ticket, order_id, version) = context;
            let by_id = doc! { "_id": &*id };
            let applied = inbox.find_one(by_id.clone()).session(&mut *session).await?;
            tickets.find_one(doc! { "_id": *ticket }).session(&mut *session).await?;
            let change = doc! { "orderId": &*order_id, "version": *version + 1, "updatedAt": DateTime::now() };
            let update = tickets.update_one(doc! { "_id": *ticket }, doc! { "$set": change });
            update.session(&mut *session).await?;
            events.insert_one(&*event).session(&mut *session).await?;
            let moved = inbox.update_one(by_id, doc! { "$set": &*mark }).upsert(applied.is_none());
            moved.session(session).await.map(drop)
        }
        .boxed()
    });
    Ok(done.await?)
}
