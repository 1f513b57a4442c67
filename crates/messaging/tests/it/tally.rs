//! A consumer that adds numbers up, in the test's process, and what is published for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{HeaderMap, jetstream};
use bson::{Document, doc, oid::ObjectId, rawdoc};
use db::Db;
use futures_util::{TryStreamExt, future::BoxFuture};
use messaging::{
    Consumer, Event, Inbox, JetStream, NatsOptions, Outbox, Outcome, Received, Subscriber,
};
use mongodb::ClientSession;
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::eventually;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::toy::{NAME, Place};

pub(crate) const CONSUMER: &str = "tally";
const TYPES: &[&str] = &["number.added", "number.taken"];
/// What the handler records.
pub(crate) const CHANGED: &str = "total.changed";

/// A message's payload.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Number {
    add: i64,
    /// What the handler does with it; it applies it where nothing is said.
    #[serde(default)]
    then: Then,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Then {
    #[default]
    Apply,
    Refuse,
    Panic,
    /// Until it was asked so often.
    Again(usize),
    /// Until the gate is open.
    Wait,
    /// A write that the server refuses for ever.
    Fail,
}

/// What the handler works with.
#[derive(Clone)]
pub(crate) struct Context {
    db: Db,
    outbox: Outbox,
    gate: watch::Receiver<bool>,
    calls: Arc<Mutex<HashMap<(String, i64), usize>>>,
}

pub(crate) fn each_version() -> Consumer<Context> {
    Consumer::each_version(CONSUMER, "NUMBERS", TYPES, |session, context, number| {
        add(session, context, number)
    })
}

pub(crate) fn newest_only() -> Consumer<Context> {
    Consumer::newest_only(CONSUMER, "NUMBERS", TYPES, |session, context, number| {
        add(session, context, number)
    })
}

fn add<'a>(
    session: &'a mut ClientSession,
    context: &'a Context,
    number: &'a Received<Number>,
) -> BoxFuture<'a, mongodb::error::Result<Outcome>> {
    Box::pin(async move {
        let Received { key, version, .. } = number;
        let calls = {
            let mut calls = context.calls.lock().unwrap();
            let calls = calls.entry((key.clone(), *version)).or_default();
            *calls += 1;
            *calls
        };
        let totals = context.db.collection::<Document>("totals");
        let add = doc! { "$inc": { "sum": number.data.add }, "$push": { "applied": version } };
        let total = totals.update_one(doc! { "_id": key }, add).upsert(true);
        total.session(&mut *session).await?;
        let data = rawdoc! { "add": number.data.add };
        let event = Event::new(
            number.metadata.clone(),
            CHANGED,
            key.clone(),
            *version,
            data,
        );
        context.outbox.record(&mut *session, &event).await?;
        match number.data.then {
            Then::Apply => {}
            Then::Refuse => return Ok(Outcome::Refused("it is refused")),
            Then::Panic => panic!("a reason"),
            Then::Again(until) if calls < until => return Ok(Outcome::Again("not yet")),
            Then::Again(_) => {}
            Then::Wait => drop(context.gate.clone().wait_for(|is_open| *is_open).await),
            Then::Fail => {
                let bad = doc! { "$inc": { "applied": 1 } };
                let failed = totals.update_one(doc! { "_id": key }, bad).session(session);
                failed.await?;
            }
        }
        Ok(Outcome::Applied)
    })
}

/// One instance, running.
pub(crate) struct Tally {
    pub(crate) place: Place,
    pub(crate) inbox: Inbox,
    pub(crate) gate: watch::Sender<bool>,
    calls: Arc<Mutex<HashMap<(String, i64), usize>>>,
    db: Db,
    stop: CancellationToken,
    running: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Tally {
    /// On a stream of its own.
    pub(crate) async fn start() -> Self {
        let place = Place::new();
        numbers(&place).await;
        Self::start_at(place).await
    }

    pub(crate) async fn start_at(place: Place) -> Self {
        Self::of(place, each_version()).await
    }

    pub(crate) async fn of(place: Place, consumer: Consumer<Context>) -> Self {
        Self::named(place, consumer, NAME).await
    }

    /// As a service of another name.
    pub(crate) async fn named(place: Place, consumer: Consumer<Context>, service: &str) -> Self {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
        drop(log.with_test_writer().try_init());
        let db = place.db().await;
        let inbox = prepared(&db).await;
        let (gate, opens) = watch::channel(false);
        let calls = Arc::default();
        let context = Context {
            outbox: Outbox::new(&db),
            db: db.clone(),
            gate: opens,
            calls: Arc::clone(&calls),
        };
        let options = NatsOptions {
            nats_stream: place.stream.clone(),
            ..place.nats()
        };
        let jetstream = JetStream::connect(&options, service, &[], place.timing).await;
        let subscriber = Subscriber {
            consumer,
            context,
            inbox: inbox.clone(),
            jetstream: jetstream.unwrap(),
            timing: place.timing,
            is_traced: false,
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(subscriber.run(stop.clone()));
        Self {
            place,
            inbox,
            gate,
            calls,
            db,
            stop,
            running: AbortOnDropHandle::new(running),
        }
    }

    /// How often the handler was asked.
    pub(crate) fn calls(&self, key: &str, version: i64) -> usize {
        let calls = self.calls.lock().unwrap();
        let calls = calls.get(&(key.to_owned(), version));
        calls.copied().unwrap_or_default()
    }

    pub(crate) async fn stop(self) -> Place {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.db.drain().await;
        self.place
    }

    /// As `kill -9` does, as far as a task can: nothing is finished, nothing is acknowledged.
    pub(crate) fn kill(self) -> Place {
        drop(self.running);
        self.place
    }

    /// Every test's last step: what is sent is acknowledged, and the data goes.
    pub(crate) async fn finish(self) {
        acknowledged(&self.place).await;
        self.stop().await.remove().await;
    }
}

pub(crate) async fn prepared(db: &Db) -> Inbox {
    let inbox = Inbox::new(db);
    db.ensure_collection("totals", []).await.unwrap();
    Outbox::new(db)
        .prepare(Duration::from_secs(3600))
        .await
        .unwrap();
    inbox.prepare().await.unwrap();
    db.mark_prepared();
    inbox
}

pub(crate) async fn jetstream(place: &Place) -> jetstream::Context {
    jetstream::new(async_nats::connect(&place.nats_url).await.unwrap())
}

/// The stream that is consumed.
pub(crate) async fn numbers(place: &Place) -> jetstream::stream::Config {
    let config = jetstream::stream::Config {
        name: place.stream.clone(),
        subjects: vec![format!("{}.number.>", place.name)],
        ..Default::default()
    };
    jetstream(place).await.create_stream(&config).await.unwrap();
    config
}

/// A message of a key, as the outbox of another service publishes it.
pub(crate) struct Sent<'a> {
    pub(crate) key: &'a str,
    pub(crate) version: i64,
    pub(crate) payload: Value,
    pub(crate) r#type: &'a str,
    pub(crate) id: Option<String>,
}

pub(crate) fn number(key: &str, version: i64) -> Sent<'_> {
    then(key, version, json!("apply"))
}

/// One that the handler does something else with.
pub(crate) fn then(key: &str, version: i64, then: Value) -> Sent<'_> {
    Sent {
        key,
        version,
        payload: json!({ "add": 1, "then": then }),
        r#type: TYPES[0],
        id: None,
    }
}

impl Sent<'_> {
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let id = self.id.clone().unwrap_or_else(|| ObjectId::new().to_hex());
        headers.insert("Nats-Msg-Id", id);
        headers.insert("ce-type", self.r#type);
        headers.insert("ce-subject", self.key);
        headers.insert("ce-keyversion", self.version.to_string());
        headers
    }
}

/// Publishes whatever it is.
pub(crate) async fn publish(
    place: &Place,
    subject: String,
    headers: HeaderMap,
    payload: impl AsRef<[u8]>,
) {
    let payload = payload.as_ref().to_vec().into();
    let jetstream = jetstream(place).await;
    let ack = jetstream.publish_with_headers(subject, headers, payload);
    ack.await.unwrap().await.unwrap();
}

/// Publishes them, in this order.
pub(crate) async fn send<'a>(place: &Place, messages: impl IntoIterator<Item = Sent<'a>>) {
    let jetstream = jetstream(place).await;
    let mut acks = Vec::new();
    for message in messages {
        let subject = format!("{}.{}.{}", place.name, message.r#type, message.key);
        let payload = serde_json::to_vec(&message.payload).unwrap();
        let sent = jetstream.publish_with_headers(subject, message.headers(), payload.into());
        acks.push(sent.await.unwrap());
        if acks.len() >= 200 {
            for ack in acks.drain(..) {
                ack.await.unwrap();
            }
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// A key's versions, in the order in which they were applied.
pub(crate) async fn applied(place: &Place, key: &str) -> Vec<i64> {
    let totals = place.database().await.collection::<Document>("totals");
    let total = totals.find_one(doc! { "_id": key }).await.unwrap();
    let Some(total) = total else {
        return Vec::new();
    };
    let applied = total.get_array("applied").unwrap();
    let applied: Vec<i64> = applied.iter().map(|it| it.as_i64().unwrap()).collect();
    assert_eq!(total.get_i64("sum").unwrap(), applied.len() as i64);
    applied
}

/// Waits until these versions of a key are applied.
pub(crate) async fn are_applied(place: &Place, key: &str, versions: impl IntoIterator<Item = i64>) {
    let versions: Vec<_> = versions.into_iter().collect();
    eventually("the versions are applied", async || {
        applied(place, key).await == versions
    })
    .await;
    // Each with its event.
    let events = place.events().await;
    let of_key = events
        .iter()
        .filter(|event| event.get_str("key").unwrap() == key);
    let recorded: Vec<i64> = of_key
        .map(|event| event.get_i64("version").unwrap())
        .collect();
    let mut wanted = versions;
    wanted.sort_unstable();
    assert_eq!(recorded, wanted);
}

pub(crate) async fn dead_letters(place: &Place) -> Vec<Document> {
    let letters = place.database().await.collection::<Document>("deadLetters");
    let letters = letters
        .find(doc! {})
        .sort(doc! { "_id.key": 1, "_id.version": 1 });
    letters.await.unwrap().try_collect().await.unwrap()
}

/// The states of what is put aside of a key.
pub(crate) async fn aside(place: &Place, key: &str) -> Vec<(i64, String)> {
    let letters = dead_letters(place).await;
    let of_key = letters.iter().filter_map(|letter| {
        let id = letter.get_document("_id").unwrap();
        let state = letter.get_str("state").unwrap().to_owned();
        id.get_str("key")
            .is_ok_and(|it| it == key)
            .then(|| (id.get_i64("version").unwrap(), state))
    });
    of_key.collect()
}

/// Waits until a key's messages are put aside so.
pub(crate) async fn are_aside(place: &Place, key: &str, wanted: &[(i64, &str)]) {
    let owned = |(version, state): &(i64, &str)| (*version, (*state).to_owned());
    let wanted: Vec<_> = wanted.iter().map(owned).collect();
    eventually("they are put aside", async || {
        aside(place, key).await == wanted
    })
    .await;
}

pub(crate) async fn durable(place: &Place) -> Option<jetstream::consumer::Info> {
    let stream = jetstream(place)
        .await
        .get_stream(&place.stream)
        .await
        .ok()?;
    let name = format!("{}-{NAME}-{CONSUMER}", place.name);
    stream.consumer_info(name).await.ok()
}

/// Waits until nothing of the stream is left to be consumed.
pub(crate) async fn acknowledged(place: &Place) {
    eventually("all is acknowledged", async || {
        let info = durable(place).await;
        info.is_some_and(|info| info.num_pending == 0 && info.num_ack_pending == 0)
    })
    .await;
}
