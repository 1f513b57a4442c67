//! Any service, running in the test's process.

use std::time::Duration;

use db::MongoOptions;
use messaging::{EventOptions, NatsOptions};
use service::{Http, Service, Timing};
use testbed::{Place, eventually};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use web::{Authenticator, HttpOptions, JwtOptions};

pub(crate) struct Toy {
    pub(crate) place: Place,
    address: String,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Toy {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start<O: Send + Sync + 'static>(service: Service<O>, domain: O) -> Self {
        let place = Place::shared();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mongo_uri = place.mongo_uri.clone().into();
        let event_retention = Duration::from_secs(3600);
        let events = EventOptions { event_retention };
        let (mongo, nats) = (MongoOptions { mongo_uri }, nats(&place));
        let process = service.connect(&mongo, events, Some(&nats), Timing::default());
        let mut process = process.await.unwrap();
        let options = http();
        let auth = Authenticator::new(&options).unwrap();
        process.http = Some(Http {
            listener,
            options,
            auth,
            domain,
        });
        let stop = CancellationToken::new();
        let running = tokio::spawn(service.serve(process, stop.clone()));
        let toy = Self {
            place,
            address,
            stop,
            running,
        };
        eventually("the service is ready", async || {
            toy.get("/health/ready").await.status() == 200
        })
        .await;
        toy
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("{}{path}", self.address))
            .await
            .unwrap()
    }

    pub(crate) async fn finish(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.place.remove().await;
    }
}

fn nats(place: &Place) -> NatsOptions {
    NatsOptions {
        nats_url: place.nats_url.clone().into(),
        nats_stream: place.name.clone(),
        nats_replicas: 1,
        nats_duplicate_window: Duration::from_secs(120),
        nats_subject_prefix: place.name.clone(),
        nats_creds_file: None,
        nats_tls_ca_file: None,
        nats_tls_cert_file: None,
        nats_tls_key_file: None,
    }
}

fn http() -> HttpOptions {
    HttpOptions {
        listen_addr: ([127, 0, 0, 1], 0).into(),
        jwt: JwtOptions {
            jwt_key: "a key of thirty-two bytes or more".into(),
            jwt_public_key_file: None,
            jwt_issuer: None,
            jwt_audience: None,
        },
        jwt_require_exp: true,
        session_cookie: "express:sess".to_owned(),
        rate_limit: 0,
        concurrency_limit: 256,
        stop_delay: Duration::ZERO,
        cors_origins: Vec::new(),
    }
}
