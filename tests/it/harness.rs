//! A whole service in the test's process, with its own database, stream, subject prefix and port.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use db::{MongoOptions, setting};
use messaging::{EventOptions, NatsAccess, NatsOptions};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use service::{Http, NoOptions, Service, Timing};
use testbed::{Mongo, eventually, nats_url, now_seconds, text};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use web::{Authenticator, HttpOptions, JwtOptions, sign};

pub(crate) const JWT_KEY: &str = "a key of thirty-two bytes or more";

/// What sets one test's data apart from all others', and how the service is configured there.
#[derive(Clone)]
pub(crate) struct Place {
    place: testbed::Place,
    /// Of the stream, when it is created.
    pub(crate) duplicate_window: Duration,
    /// How NATS is reached.
    pub(crate) access: NatsAccess,
    /// What the service in the test's process keeps to.
    pub(crate) timing: Timing,
    /// Whether it consumes the stream of the orders, which is [`Place::orders_stream`].
    consumes: bool,
}

impl Deref for Place {
    type Target = testbed::Place;

    fn deref(&self) -> &Self::Target {
        &self.place
    }
}

impl DerefMut for Place {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.place
    }
}

impl Place {
    /// On the servers that all tests share.
    pub(crate) fn new() -> Self {
        Self::of(testbed::Place::shared())
    }

    /// Where a sibling's orders are consumed too.
    pub(crate) fn consuming(self) -> Self {
        Self {
            consumes: true,
            ..self
        }
    }

    pub(crate) fn at(mongo_uri: &str, nats_url: &str) -> Self {
        Self::of(testbed::Place::at(mongo_uri, nats_url))
    }

    fn of(place: testbed::Place) -> Self {
        Self {
            place,
            duplicate_window: Duration::from_secs(120),
            access: NatsAccess::default(),
            timing: Timing::default(),
            consumes: false,
        }
    }

    pub(crate) fn orders_stream(&self) -> String {
        format!("{}-orders", self.name)
    }

    pub(crate) fn mongo(&self) -> MongoOptions {
        let mongo_uri = SecretString::from(self.mongo_uri.clone());
        MongoOptions { mongo_uri }
    }

    pub(crate) fn nats(&self) -> NatsOptions {
        NatsOptions {
            nats_duplicate_window: self.duplicate_window,
            access: self.access.clone(),
            ..setting::options(self.nats_flags()).unwrap()
        }
    }
}

/// The service, running.
pub(crate) struct TestApp {
    pub(crate) place: Place,
    pub(crate) address: String,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_at(Place::new()).await
    }

    /// Starts it, and waits until it takes writes.
    pub(crate) async fn start_at(place: Place) -> Self {
        Self::begin_at(place).await.ready().await
    }

    /// Starts it, and waits for nothing.
    pub(crate) async fn begin_at(place: Place) -> Self {
        Self::begin_with(place, |_| {}).await
    }

    /// Starts it with another HTTP configuration, and waits until it takes writes.
    pub(crate) async fn start_with(adjust: impl FnOnce(&mut HttpOptions)) -> Self {
        Self::begin_with(Place::new(), adjust).await.ready().await
    }

    pub(crate) async fn ready(self) -> Self {
        eventually("the service is ready", async || {
            assert!(!self.running.is_finished(), "the service has ended");
            self.get("/health/ready").await.status() == 200
        })
        .await;
        self
    }

    /// Starts it with another HTTP configuration, and waits for nothing.
    pub(crate) async fn begin_with(place: Place, adjust: impl FnOnce(&mut HttpOptions)) -> Self {
        let event_retention = Duration::from_secs(3600);
        Self::begin(place, EventOptions { event_retention }, adjust).await
    }

    /// Starts it with another retention of events, and waits for nothing.
    pub(crate) async fn begin_keeping(place: Place, events: EventOptions) -> Self {
        Self::begin(place, events, |_| {}).await
    }

    async fn begin(
        place: Place,
        events: EventOptions,
        adjust: impl FnOnce(&mut HttpOptions),
    ) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        // Shown where the test fails.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
        drop(log.with_test_writer().try_init());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen_addr = listener.local_addr().unwrap();
        let mut options = options();
        options.listen_addr = listen_addr;
        adjust(&mut options);
        let (mongo, nats, stop) = (place.mongo(), place.nats(), CancellationToken::new());
        let service = service();
        let process = service.connect(&mongo, events, Some(&nats), place.timing);
        let mut process = process.await.unwrap();
        let domain = Arc::<NoOptions>::default();
        if place.consumes {
            let streams = vec![place.orders_stream()];
            let consumption =
                service.consumption(&nats, streams, Arc::clone(&domain), place.timing);
            process.consumption = Some(consumption.await.unwrap());
        }
        process.http = Some(Http {
            listener,
            auth: Authenticator::new(&options).unwrap(),
            options,
            domain,
        });
        let running = tokio::spawn(service.serve(process, stop.clone()));
        Self {
            place,
            address: format!("http://{listen_addr}"),
            stop,
            running,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        testbed::client().request(method, format!("{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, user: &str, body: Value) -> Response {
        self.request(Method::POST, "/api/tickets")
            .bearer_auth(token(user))
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn post_with_key(&self, user: &str, key: &str, body: Value) -> Response {
        let request = self.request(Method::POST, "/api/tickets");
        let request = request
            .bearer_auth(token(user))
            .header("idempotency-key", key);
        request.json(&body).send().await.unwrap()
    }

    pub(crate) async fn put(&self, user: &str, id: &str, body: Value) -> Response {
        let request = self.request(Method::PUT, &format!("/api/tickets/{id}"));
        request
            .bearer_auth(token(user))
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// A ticket of alice's; its id.
    pub(crate) async fn create(&self) -> String {
        let created = self
            .post("alice", json!({ "title": "concert", "price": 20.5 }))
            .await;
        assert_eq!(created.status(), 201);
        text(&created.json::<Value>().await.unwrap()["id"])
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

/// A server of a test's own, because a fail point holds for all of a server; and the service there.
pub(crate) async fn with_own_mongo() -> (Mongo, TestApp) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let app = TestApp::start_at(Place::at(&mongo.uri(), &nats_url())).await;
    (mongo, app)
}

/// As `main.rs` has it.
pub(crate) fn service() -> Service {
    Service::new("tickets", env!("CARGO_PKG_VERSION"))
        .collections(tickets::collections)
        .routes(tickets::routes)
        .publishes(tickets::EVENTS)
        .consumes(tickets::reservations)
}

pub(crate) fn options() -> HttpOptions {
    HttpOptions {
        jwt: jwt(JWT_KEY),
        ..setting::options([
            "--listen-addr=127.0.0.1:0",
            "--rate-limit=0",
            "--write-rate-limit=0",
            "--stop-delay=0s",
        ])
        .unwrap()
    }
}

pub(crate) fn jwt(key: &str) -> JwtOptions {
    setting::options([format!("--jwt-key={key}")]).unwrap()
}

pub(crate) fn token(user: &str) -> String {
    sign(&jwt(JWT_KEY), user, None, now_seconds(), 600).unwrap()
}
