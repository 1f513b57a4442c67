//! The other service: it tells of orders, each event until the stream has acknowledged it, and some of them again when the stream takes
//! them for new.

use std::{
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
use testbed::within;
use tokio::time::{sleep, timeout};

use crate::{
    clock::Clock,
    domain,
    history::{Mark, OrderEvent, Orders as History},
    world::World,
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
            name: domain::ORDERS.to_owned(),
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

    /// Waits until each event is applied; what became of them.
    pub(crate) async fn settled(&self, world: &World) -> anyhow::Result<History> {
        let events = self.told.lock().expect("no panic while it is held").clone();
        let applied = || async {
            let marks = marks(world).await?;
            let is_applied = |event: &&OrderEvent| {
                let mut marks = marks.iter();
                marks.any(|mark| mark.order == event.order && mark.version >= Some(event.version))
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
            put_aside: put_aside(world).await?,
            events,
        })
    }
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

async fn put_aside(world: &World) -> anyhow::Result<Vec<(String, String)>> {
    let letters = world.database.collection::<Document>("deadLetters");
    let letters: Vec<Document> = letters.find(doc! {}).await?.try_collect().await?;
    let text = |letter: &Document, name: &str| letter.get_str(name).unwrap_or("?").to_owned();
    let told = letters
        .iter()
        .map(|it| (text(it, "key"), text(it, "reason")));
    Ok(told.collect())
}
