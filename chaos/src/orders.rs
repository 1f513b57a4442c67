//! Where there is no other service, the harness tells of orders, each event until the stream has acknowledged it, and some of them again when
//! the stream takes them for new. Where there is one, its events are those of its clients' orders. What became of them is the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, ensure};
use async_nats::{
    HeaderMap,
    jetstream::{self, stream::Config},
};
use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use testbed::within;
use tokio::time::{sleep, timeout};

use crate::{
    clock::Clock,
    domain::{
        self, TICKETS,
        orders::{self, REPLICA, of_document},
    },
    history::{Event, Known, Mark, OrderEvent, Orders as History, PutAside},
    world::{Sibling, World},
};

const WINDOW: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(60);
const ACK_LIMIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Orders {
    jetstream: jetstream::Context,
    told: Arc<Mutex<Vec<OrderEvent>>>,
}

/// An event to be told.
pub(crate) struct Told {
    pub(crate) trace: String,
    pub(crate) order: String,
    pub(crate) version: i64,
    pub(crate) document: String,
    /// Whether it is told once more after the stream's window.
    pub(crate) is_told_again: bool,
}

impl Orders {
    /// Makes the stream.
    pub(crate) async fn new(world: &World) -> anyhow::Result<Self> {
        let client = async_nats::connect(world.nats_urls.as_slice()).await?;
        let jetstream = jetstream::new(client);
        let config = Config {
            name: domain::ORDERS.stream.to_owned(),
            subjects: vec![format!("{}.>", domain::ORDER)],
            num_replicas: world.nats_urls.len(),
            duplicate_window: WINDOW,
            ..Config::default()
        };
        within(LIMIT, "the stream of orders is made", || async {
            Ok(jetstream.get_or_create_stream(config.clone()).await?)
        })
        .await?;
        Ok(Self {
            jetstream,
            told: Arc::default(),
        })
    }

    pub(crate) async fn tell(&self, event: Told, clock: Clock) {
        let began_ms = clock.now_ms();
        let mut is_acked = self.publish(&event).await;
        if event.is_told_again {
            sleep(WINDOW * 2).await;
            is_acked |= self.publish(&event).await;
        }
        let told = OrderEvent {
            trace: event.trace,
            order: event.order,
            version: event.version,
            document: event.document,
            began_ms,
            is_acked,
        };
        self.told
            .lock()
            .expect("no panic while it is held")
            .push(told);
    }

    /// Until it is acknowledged, or for long enough.
    async fn publish(&self, event: &Told) -> bool {
        let (r#type, payload) = domain::order_event(&event.order, event.version, &event.document);
        let (payload, version) = (payload.to_string(), event.version.to_string());
        let (id, span) = (format!("{}-{version}", event.order), &event.trace[16..]);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Nats-Msg-Id", id.as_str()),
            ("ce-specversion", "1.0"),
            ("ce-id", &id),
            ("ce-source", "/orders"),
            ("ce-type", &r#type),
            ("ce-subject", &event.order),
            ("ce-keyversion", &version),
            ("content-type", "application/json"),
            ("traceparent", &format!("00-{}-{span}-00", event.trace)),
        ] {
            headers.insert(name, value);
        }
        let subject = format!("{type}.{}", event.order);
        let acked = || async {
            let ack = self.jetstream.publish_with_headers(
                subject.clone(),
                headers.clone(),
                payload.clone().into(),
            );
            let ack = timeout(ACK_LIMIT, ack.await?.into_future()).await;
            if ack.is_err() {
                sleep(PAUSE).await;
            }
            Ok(ack??)
        };
        let acked = within(LIMIT * 2, "an order's event is acknowledged", acked);
        acked.await.is_ok()
    }

    /// All that was told.
    pub(crate) fn told(&self) -> Vec<OrderEvent> {
        self.told.lock().expect("no panic while it is held").clone()
    }
}

/// What the other service has recorded.
pub(crate) fn recorded(events: &[Event]) -> Vec<OrderEvent> {
    let order = |event: &Event| OrderEvent {
        trace: event.trace().unwrap_or_default().to_owned(),
        order: event.key.clone(),
        version: event.version,
        document: of_document(&event.data).unwrap_or_default().to_owned(),
        began_ms: event.made_at_ms,
        is_acked: event.is_sent,
    };
    events.iter().map(order).collect()
}

/// Waits until each event is applied; what became of them.
pub(crate) async fn settled(world: &World, events: Vec<OrderEvent>) -> anyhow::Result<History> {
    let applied = || async {
        let marks = marks(world).await?.into_iter();
        let marks: HashMap<String, Option<i64>> =
            marks.map(|mark| (mark.order, mark.version)).collect();
        let is_applied = |event: &&OrderEvent| {
            let mark = marks.get(&event.order).copied().flatten();
            mark >= Some(event.version)
        };
        let count = events.iter().filter(is_applied).count();
        ensure!(count == events.len(), "{count} of {} are", events.len());
        Ok(())
    };
    // Where they are not, the checker says so.
    if let Err(error) = within(LIMIT, "each order's event is applied", applied).await {
        eprintln!("chaos: {error:#}");
    }
    Ok(History {
        marks: marks(world).await?,
        put_aside: Vec::new(),
        events,
    })
}

/// Waits until nothing is put aside, in any service, but what was planted; what is put aside all the same.
pub(crate) async fn put_aside(world: &World, planted: &[String]) -> anyhow::Result<Vec<PutAside>> {
    let all = || async {
        let mut all = Vec::new();
        for outbox in &world.outboxes {
            all.extend(put_aside_in(&outbox.database).await?);
        }
        anyhow::Ok(all)
    };
    let none = || async {
        let all = all().await?;
        let is_planted = |it: &PutAside| planted.contains(&it.message_id);
        let waits = all.iter().find(|it| !is_planted(it));
        ensure!(waits.is_none(), "{waits:?} is");
        Ok(())
    };
    // What comes behind a slow one is put aside for a while.
    if let Err(error) = within(LIMIT, "nothing is put aside", none).await {
        eprintln!("chaos: {error:#}");
    }
    all().await
}

/// Waits until the other service knows the newest version of each document; what it knows.
pub(crate) async fn known(world: &World, sibling: &Sibling) -> anyhow::Result<Vec<Known>> {
    let replica = sibling.database.collection::<Document>(REPLICA);
    let known = || async {
        let known: Vec<Document> = replica.find(doc! {}).await?.try_collect().await?;
        let known: anyhow::Result<Vec<Known>> = known.iter().map(orders::known).collect();
        known
    };
    let documents = world.database.collection::<Document>(TICKETS.collection);
    let newest = || async {
        let of = |it: Document| Ok((it.get_object_id("_id")?.to_hex(), it.get_i64("version")?));
        let newest: Vec<Document> = documents.find(doc! {}).await?.try_collect().await?;
        let newest: HashMap<String, i64> =
            newest.into_iter().map(of).collect::<anyhow::Result<_>>()?;
        let is_newest = |it: &&Known| newest.get(&it.key) == Some(&it.version);
        let count = known().await?.iter().filter(is_newest).count();
        ensure!(count == newest.len(), "{count} of {} are", newest.len());
        Ok(())
    };
    if let Err(error) = within(LIMIT, "the newest versions are known", newest).await {
        eprintln!("chaos: {error:#}");
    }
    known().await
}

async fn marks(world: &World) -> anyhow::Result<Vec<Mark>> {
    let inbox = world.database.collection::<Document>("inbox");
    let of_ours = doc! { "_id.consumer": domain::RESERVATIONS };
    let marks: Vec<Document> = inbox.find(of_ours).await?.try_collect().await?;
    let mark = |mark: &Document| {
        let order = mark.get_document("_id").and_then(|id| id.get_str("key"));
        Ok(Mark {
            order: order.context("a mark without a key")?.to_owned(),
            version: mark.get_i64("version").ok(),
        })
    };
    marks.iter().map(mark).collect()
}

async fn put_aside_in(database: &Database) -> anyhow::Result<Vec<PutAside>> {
    let letters = database.collection::<Document>("deadLetters");
    let letters: Vec<Document> = letters.find(doc! {}).await?.try_collect().await?;
    let put_aside = |letter: &Document| {
        let text = |of: &Document, name: &str| of.get_str(name).unwrap_or("?").to_owned();
        PutAside {
            message_id: text(letter, "messageId"),
            key: letter
                .get_document("_id")
                .map_or_else(|_| "?".to_owned(), |id| text(id, "key")),
            reason: text(letter, "reason"),
        }
    };
    Ok(letters.iter().map(put_aside).collect())
}
