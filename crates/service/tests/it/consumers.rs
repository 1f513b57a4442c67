//! A service that consumes: which of its parts run, and in which order they end.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{self, stream};
use bson::{Document, doc, rawdoc};
use db::MongoOptions;
use futures_util::future::BoxFuture;
use messaging::{Consumer, Event, EventOptions, EventType, Outcome, Received};
use mongodb::ClientSession;
use serde::Deserialize;
use serde_json::Value;
use service::{Context, NoOptions, Service, Timing};
use testbed::{Place, eventually};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::toy::{Toy, http};

const PAID: EventType = EventType::of::<Value>("invoice.paid");

#[derive(Deserialize, ToSchema)]
struct Order {
    /// How long its handler takes.
    #[serde(default)]
    takes_ms: u64,
}

fn invoices() -> Service {
    Service::new("toy", "0.1.0")
        .publishes(&[PAID])
        .consumes(|| Consumer::each_version("invoices", "ORDERS", &["order.created"], pay))
}

fn pay<'a>(
    session: &'a mut ClientSession,
    context: &'a Context,
    order: &'a Received<Order>,
) -> BoxFuture<'a, mongodb::error::Result<Outcome>> {
    Box::pin(async move {
        let (key, data) = (order.key.clone(), rawdoc! { "order": order.key.as_str() });
        let event = Event::new(order.metadata.clone(), PAID.name, key, 0, data);
        context.outbox.record(session, &event).await?;
        tokio::time::sleep(Duration::from_millis(order.data.takes_ms)).await;
        Ok(Outcome::Applied)
    })
}

pub(crate) fn orders(place: &Place) -> String {
    format!("{}-orders", place.name)
}

fn returns(place: &Place) -> String {
    format!("{}-returns", place.name)
}

pub(crate) async fn make_stream(place: &Place) -> jetstream::Context {
    make_stream_of(place, orders(place), "order").await
}

async fn make_stream_of(place: &Place, name: String, noun: &str) -> jetstream::Context {
    let nats = jetstream::new(async_nats::connect(&place.nats_url).await.unwrap());
    let config = stream::Config {
        name,
        subjects: vec![format!("{}.{noun}.>", place.name)],
        ..stream::Config::default()
    };
    nats.create_stream(config).await.unwrap();
    nats
}

async fn order(nats: &jetstream::Context, place: &Place, id: &str, takes_ms: u64) {
    send(nats, format!("{}.order.created.{id}", place.name), takes_ms).await;
}

async fn send(nats: &jetstream::Context, subject: String, takes_ms: u64) {
    let payload = format!("{{\"version\":0,\"takes_ms\":{takes_ms}}}");
    let sent = nats.publish(subject, payload.into()).await.unwrap();
    sent.await.unwrap();
}

async fn start(place: &Place) -> Toy {
    let parts = (http(), vec![orders(place)]);
    let place = place.clone();
    Toy::start_at(place, Timing::default(), invoices(), NoOptions {}, parts).await
}

async fn invoice_is_published(place: &Place, id: &str) {
    let subject = format!("{}.invoice.paid.{id}", place.name);
    eventually("its event is published", async || {
        let messages = place.messages().await;
        messages
            .iter()
            .any(|message| message.subject.as_str() == subject)
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_missing_never_unreadies_a_service_that_consumes_and_publishes() {
    let place = Place::shared();
    let toy = start(&place).await;
    assert_eq!(toy.get("/health/ready").await.status(), 200);
    let nats = make_stream(&place).await;
    order(&nats, &place, "a", 0).await;
    invoice_is_published(&place, "a").await;
    nats.delete_stream(orders(&place)).await.unwrap();
    toy.finish().await;
}

#[tokio::test]
async fn a_stop_applies_what_is_in_hand_and_publishes_what_that_records() {
    let place = Place::shared();
    let nats = make_stream(&place).await;
    let toy = start(&place).await;
    order(&nats, &place, "a", 0).await;
    invoice_is_published(&place, "a").await;
    order(&nats, &place, "b", 1_500).await;
    let stream = nats.get_stream(orders(&place)).await.unwrap();
    let name = format!("{}-toy-invoices", place.name);
    eventually("it is in hand", async || {
        stream.consumer_info(&name).await.unwrap().num_ack_pending == 1
    })
    .await;
    toy.ask_to_stop();
    toy.running.await.unwrap().unwrap();
    let unsent = place.events().await;
    assert!(
        unsent
            .iter()
            .all(|event| event.get_str("sent").unwrap() == "YES")
    );
    assert_eq!(place.messages().await.len(), 2);
    assert_eq!(
        stream.consumer_info(&name).await.unwrap().num_ack_pending,
        0
    );
    nats.delete_stream(orders(&place)).await.unwrap();
    place.remove().await;
}

#[tokio::test]
async fn two_consumers_of_one_service_do_not_hold_each_other_up() {
    let place = Place::shared();
    let nats = make_stream(&place).await;
    make_stream_of(&place, returns(&place), "return").await;
    let service =
        invoices().consumes(|| Consumer::each_version("refunds", "RETURNS", &["return.made"], pay));
    let parts = (http(), vec![orders(&place), returns(&place)]);
    let toy = Toy::start_at(
        place.clone(),
        Timing::default(),
        service,
        NoOptions {},
        parts,
    )
    .await;
    // More than there are places, each of which is held for long.
    let keys: Vec<String> = (0..40).map(|key| format!("order-{key}")).collect();
    for key in &keys {
        order(&nats, &place, key, 2_000).await;
    }
    let stream = nats.get_stream(orders(&place)).await.unwrap();
    let name = format!("{}-toy-invoices", place.name);
    eventually("all of them are in hand", async || {
        stream.consumer_info(&name).await.unwrap().num_ack_pending > 1
    })
    .await;
    send(&nats, format!("{}.return.made.a", place.name), 0).await;
    invoice_is_published(&place, "a").await;
    let stuck = stream.consumer_info(&name).await.unwrap();
    assert!(stuck.num_ack_pending > 1, "{stuck:?}");
    toy.ask_to_stop();
    toy.running.await.unwrap().unwrap();
    for stream in [orders(&place), returns(&place)] {
        nats.delete_stream(stream).await.unwrap();
    }
    place.remove().await;
}

#[tokio::test]
async fn a_process_may_consume_and_do_nothing_else() {
    let place = Place::shared();
    let nats = make_stream(&place).await;
    let service = invoices();
    let mongo_uri = place.mongo_uri.clone().into();
    let events = EventOptions {
        event_retention: Duration::from_secs(3600),
    };
    let timing = Timing::default();
    let mongo = MongoOptions { mongo_uri };
    let process = service.connect(&mongo, events, None, timing);
    let mut process = process.await.unwrap();
    let options = db::setting::options(place.nats_flags()).unwrap();
    let domain = Arc::new(NoOptions {});
    let consumption = service.consumption(&options, vec![orders(&place)], domain, timing);
    process.consumption = Some(consumption.await.unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.serve(process, stop.clone()));
    order(&nats, &place, "a", 0).await;
    eventually("it is applied", async || place.events().await.len() == 1).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(place.events().await[0].get_str("sent").unwrap(), "NO");
    nats.delete_stream(orders(&place)).await.unwrap();
    place.remove().await;
}

async fn collections(place: &Place) -> Vec<String> {
    place
        .database()
        .await
        .list_collection_names()
        .await
        .unwrap()
}

#[tokio::test]
async fn only_a_service_that_consumes_has_an_inbox() {
    let place = Place::shared();
    let toy = start(&place).await;
    let has = |names: &[String], name: &str| names.iter().any(|it| it == name);
    let names = collections(&place).await;
    assert!(
        has(&names, "inbox") && has(&names, "deadLetters"),
        "{names:?}"
    );
    let letters = place.database().await.collection::<Document>("deadLetters");
    assert_eq!(letters.list_index_names().await.unwrap().len(), 3);
    assert_eq!(letters.count_documents(doc! {}).await.unwrap(), 0);
    toy.finish().await;
    let toy = Toy::of_counters(Place::shared(), Timing::default()).await;
    let names = collections(&toy.place).await;
    assert!(
        !has(&names, "inbox") && !has(&names, "deadLetters"),
        "{names:?}"
    );
    toy.finish().await;
}
