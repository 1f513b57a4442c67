//! A service of counters, or any other, running in the test's process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode};
use bson::{Document, doc, oid::ObjectId};
use db::{Abort, Db, MongoOptions, setting};
use futures_util::future::BoxFuture;
use messaging::{EventOptions, EventType, Metadata};
use mongodb::IndexModel;
use reqwest::Response;
use secrecy::SecretString;
use serde_json::Value;
use service::{Admin, Context, Http, NoOptions, Service, Timing};
use testbed::{Mongo, Place, eventually, nats_url};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Authenticator, HttpOptions, Id, Refusal};

use crate::viewers;

/// Longer than any test lasts.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);
pub(crate) const COUNTERS: &str = "counters";
const CREATED: EventType = EventType::of::<Value>("counter.created");

fn counters() -> Service {
    let routes = || {
        OpenApiRouter::new()
            .routes(routes!(create_counter))
            .routes(routes!(read_counter))
    };
    Service::new("toy", "0.1.0")
        .collections(collections)
        .routes(routes)
        .publishes(&[CREATED])
}

fn collections(db: &Db) -> BoxFuture<'_, mongodb::error::Result<()>> {
    let by_value = IndexModel::builder().keys(doc! { "value": 1 }).build();
    Box::pin(db.ensure_collection(COUNTERS, [by_value]))
}

#[utoipa::path(post, path = "/api/counters", responses((status = 201, description = "Its id.", body = String)))]
async fn create_counter(State(context): State<Context>) -> Result<(StatusCode, String), Refusal> {
    let (id, db) = (ObjectId::new(), context.db.clone());
    let create = (context, id, Metadata::now());
    let created = db.transaction(create, |session, (context, id, metadata)| {
        Box::pin(async move {
            let counters = context.db.collection::<Document>(COUNTERS);
            let counter = doc! { "_id": id, "value": 0 };
            counters.insert_one(counter).session(&mut *session).await?;
            let payload = doc! { "value": 0 };
            let event = CREATED.event(metadata.clone(), id.to_hex(), 0, &payload)?;
            context.outbox.record(session, &event).await?;
            Ok::<_, Abort<Refusal>>(())
        })
    });
    created.await?;
    Ok((StatusCode::CREATED, id.to_hex()))
}

#[utoipa::path(get, path = "/api/counters/{id}", params(Id), responses((status = 200, description = "Its value.", body = String)))]
async fn read_counter(State(db): State<Db>, Id(id): Id) -> Result<String, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let counters = db.collection::<Document>(COUNTERS);
    let counter = db.read(async move { counters.find_one(doc! { "_id": id }).await });
    let counter = counter.await?.ok_or(Refusal::NotFound)?;
    Ok(counter.get_i32("value").unwrap().to_string())
}

/// A server of a test's own, because a fail point holds for all of a server; and a place there.
pub(crate) async fn own_mongo() -> (Mongo, Place) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    (mongo, place)
}

/// What a command meets at a fail point: no answer, for ever.
pub(crate) fn hangs() -> Document {
    doc! { "blockConnection": true, "blockTimeMS": NEVER.as_millis() as i32 }
}

/// A service, running.
pub(crate) struct Toy {
    pub(crate) place: Place,
    pub(crate) address: String,
    /// Of the listener for those who run the service, where there is one.
    pub(crate) admin: Option<SocketAddr>,
    stop: CancellationToken,
    pub(crate) running: JoinHandle<anyhow::Result<()>>,
}

impl Toy {
    /// Starts the service of counters, and waits until it takes writes.
    pub(crate) async fn of_counters(place: Place, timing: Timing) -> Self {
        Self::start_at(
            place,
            timing,
            counters(),
            NoOptions {},
            (http(), Vec::new()),
        )
        .await
    }

    /// The same, which takes requests for this long after a stop is asked for.
    pub(crate) async fn with_stop_delay(place: Place, stop_delay: Duration) -> Self {
        let options = HttpOptions {
            stop_delay,
            ..http()
        };
        Self::start_at(
            place,
            Timing::default(),
            counters(),
            NoOptions {},
            (options, Vec::new()),
        )
        .await
    }

    /// Starts it, and waits for nothing.
    pub(crate) async fn begin_with_counters(place: Place, timing: Timing) -> Self {
        Self::begin_at(
            place,
            timing,
            counters(),
            NoOptions {},
            (http(), Vec::new()),
        )
        .await
    }

    /// Starts a service on the servers that all tests share, and waits until it is ready.
    pub(crate) async fn start<O: Send + Sync + 'static>(service: Service<O>, domain: O) -> Self {
        Self::start_at(
            Place::shared(),
            Timing::default(),
            service,
            domain,
            (http(), Vec::new()),
        )
        .await
    }

    pub(crate) async fn start_at<O: Send + Sync + 'static>(
        place: Place,
        timing: Timing,
        service: Service<O>,
        domain: O,
        (options, streams): (HttpOptions, Vec<String>),
    ) -> Self {
        let parts = (options, streams);
        let toy = Self::begin_at(place, timing, service, domain, parts).await;
        toy.is_ready().await;
        toy
    }

    pub(crate) async fn is_ready(&self) {
        eventually("the service is ready", async || {
            assert!(!self.running.is_finished(), "the service has ended");
            self.get("/health/ready").await.status() == 200
        })
        .await;
    }

    /// An address of the listener for those who run the service.
    pub(crate) fn page(&self, path: &str) -> String {
        let port = self.admin.unwrap().port();
        format!("http://127.0.0.1:{port}{path}")
    }

    /// The service of counters with a live page, at an address that is bound so.
    pub(crate) async fn with_page(
        place: Place,
        timing: Timing,
        bind: &str,
        token: Option<&str>,
    ) -> Self {
        let admin = Admin {
            listener: viewers::listener(bind),
            token: token.map(SecretString::from),
            hosts: vec!["service.internal".to_owned()],
        };
        let parts = (http(), Vec::new());
        let toy = Self::begin(place, timing, counters(), NoOptions {}, parts, Some(admin)).await;
        toy.is_ready().await;
        toy
    }

    async fn begin_at<O: Send + Sync + 'static>(
        place: Place,
        timing: Timing,
        service: Service<O>,
        domain: O,
        parts: (HttpOptions, Vec<String>),
    ) -> Self {
        Self::begin(place, timing, service, domain, parts, None).await
    }

    pub(crate) async fn begin<O: Send + Sync + 'static>(
        place: Place,
        timing: Timing,
        service: Service<O>,
        domain: O,
        (options, streams): (HttpOptions, Vec<String>),
        admin: Option<Admin>,
    ) -> Self {
        // Shown where the test fails.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
        drop(log.with_test_writer().try_init());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mongo_uri = place.mongo_uri.clone().into();
        let event_retention = Duration::from_secs(3600);
        let events = EventOptions { event_retention };
        let mongo = MongoOptions { mongo_uri };
        let nats = setting::options(place.nats_flags()).unwrap();
        let process = service.connect(&mongo, events, Some(&nats), timing);
        let mut process = process.await.unwrap();
        let auth = Authenticator::new(&options).unwrap();
        let domain = Arc::new(domain);
        if !streams.is_empty() {
            let consumption = service.consumption(&nats, streams, Arc::clone(&domain), timing);
            process.consumption = Some(consumption.await.unwrap());
        }
        process.http = Some(Http {
            listener,
            options,
            auth,
            domain,
        });
        let address_of_page = |admin: &Admin| admin.listener.local_addr().unwrap();
        let admin_address = admin.as_ref().map(address_of_page);
        process.admin = admin;
        let stop = CancellationToken::new();
        let running = tokio::spawn(service.serve(process, stop.clone()));
        Self {
            place,
            address,
            admin: admin_address,
            stop,
            running,
        }
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let url = format!("{}{path}", self.address);
        testbed::client().get(url).send().await.unwrap()
    }

    /// Asks for a counter.
    pub(crate) async fn post(&self) -> Response {
        self.request().await.unwrap()
    }

    /// The same without a wait for it: whoever drops it hangs up.
    pub(crate) fn request(&self) -> impl Future<Output = reqwest::Result<Response>> + use<> {
        let url = format!("{}/api/counters", self.address);
        testbed::client().post(url).send()
    }

    /// A counter; its id.
    pub(crate) async fn create(&self) -> String {
        let created = self.post().await;
        assert_eq!(created.status(), 201);
        created.text().await.unwrap()
    }

    pub(crate) async fn stop(self) -> Place {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.place
    }

    /// Every test's last step: nothing is left unsent, and the data goes.
    pub(crate) async fn finish(self) {
        self.place.drained().await;
        self.stop().await.remove().await;
    }
}

pub(crate) fn http() -> HttpOptions {
    let key = "--jwt-key=a key of thirty-two bytes or more";
    setting::options([
        "--listen-addr=127.0.0.1:0",
        "--rate-limit=0",
        "--write-rate-limit=0",
        "--stop-delay=0s",
        key,
    ])
    .unwrap()
}
