//! What a process runs: HTTP, the consumers, the publisher and the admin listener, each where it is wanted, under one [`Lifecycle`].

use std::{pin::pin, sync::Arc};

use axum::{Router, extract::Request, middleware::map_request};
use db::{Db, MongoOptions, setting::Unusable};
use messaging::{
    EventOptions, Inbox, JetStream, NatsOptions, Outbox, Publisher, Recent, Subscriber,
};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use web::{Authenticator, HttpOptions, Stack};

use crate::{
    Admin, Context, NoOptions, Service, Timing, admin, health, health::Health,
    lifecycle::Lifecycle, prepare::Preparation, problems,
};

/// The HTTP interface.
pub struct Http<O = NoOptions> {
    /// Bound already, so that the caller knows its port.
    pub listener: TcpListener,
    pub options: HttpOptions,
    pub auth: Authenticator,
    /// The domain's own.
    pub domain: Arc<O>,
}

/// The connections of the service's consumers, and what their handlers work with.
pub struct Consumption<O = NoOptions> {
    /// In the order of the consumers.
    streams: Vec<JetStream>,
    domain: Arc<O>,
}

/// What a process is to run, and the servers behind it.
pub struct Process<O = NoOptions> {
    db: Db,
    /// `None` where this process does not publish.
    jetstream: Option<JetStream>,
    events: EventOptions,
    timing: Timing,
    /// `None` where it serves no requests.
    pub http: Option<Http<O>>,
    /// `None` where it does not consume.
    pub consumption: Option<Consumption<O>>,
    /// Metrics and the live page, where they are wanted; the metrics can be read to the end.
    pub admin: Option<Admin>,
    /// Whether there is a collector of traces.
    pub is_traced: bool,
}

impl<O: Send + Sync + 'static> Service<O> {
    /// Reads the options of the servers. Nothing needs to answer yet: MongoDB and NATS may be away.
    ///
    /// # Errors
    /// When an option can't be used.
    pub async fn connect(
        &self,
        mongo: &MongoOptions,
        events: EventOptions,
        nats: Option<&NatsOptions>,
        timing: Timing,
    ) -> Result<Process<O>, Unusable> {
        let name = self.about.name;
        let db = Db::connect(mongo, name, timing.db).await?;
        let jetstream = match nats {
            Some(nats) => Some(JetStream::connect(nats, name, self.events, timing.outbox).await?),
            None => None,
        };
        Ok(Process {
            db,
            jetstream,
            events,
            timing,
            http: None,
            consumption: None,
            admin: None,
            is_traced: false,
        })
    }

    /// Connects each consumer to its stream, one of `streams` in the order of the consumers, by a connection of its own: a message that
    /// breaks it breaks no other.
    ///
    /// # Errors
    /// When an option can't be used.
    pub async fn consumption(
        &self,
        nats: &NatsOptions,
        streams: Vec<String>,
        domain: Arc<O>,
        timing: Timing,
    ) -> Result<Consumption<O>, Unusable> {
        let mut connected = Vec::new();
        for stream in streams {
            let nats = NatsOptions {
                nats_stream: stream,
                ..nats.clone()
            };
            let name = self.about.name;
            connected.push(JetStream::connect(&nats, name, &[], timing.outbox).await?);
        }
        Ok(Consumption {
            streams: connected,
            domain,
        })
    }

    /// Runs until `stop`, then drains: the HTTP interface and the consumers where there are any, then the publisher where there is a
    /// broker.
    ///
    /// # Errors
    /// When a task ends before `stop`: the process must not go on without it.
    pub async fn serve(self, process: Process<O>, stop: CancellationToken) -> anyhow::Result<()> {
        let Process {
            db,
            jetstream,
            timing,
            is_traced,
            ..
        } = process;
        let event_retention = process.events.event_retention;
        let mut lifecycle = Lifecycle::new(stop, timing);
        let beside = db.beside()?;
        let (names, recent) = (self.consumer_names(), Recent::default());
        let prepared = CancellationToken::new();
        let mut nats = jetstream.clone();
        if let Some(Consumption { streams, domain }) = process.consumption {
            nats = nats.or_else(|| streams.first().cloned());
            let consumers = self.consumers.len();
            for (consumer, jetstream) in self.consumers.iter().zip(streams) {
                let subscriber = Subscriber {
                    consumer: consumer.clone(),
                    context: Context::new(&db, &domain),
                    inbox: Inbox::new(&db),
                    jetstream,
                    consumers,
                    timing: timing.outbox,
                    is_traced,
                    recent: recent.clone(),
                };
                let (prepared, stop) = (prepared.clone(), lifecycle.stop.clone());
                lifecycle.spawn_recording(consumer.name(), async move {
                    match stop.run_until_cancelled(prepared.cancelled()).await {
                        Some(()) => subscriber.run(stop).await,
                        None => Ok(()),
                    }
                });
            }
        }
        let sources = admin::Sources {
            about: self.about,
            db: beside.clone(),
            consumers: names,
            events: self.events,
            publishes_to: jetstream.clone(),
            nats: nats.clone(),
            recent: recent.clone(),
        };
        if let Some(http) = process.http {
            let health = Health::new(beside.clone(), nats, lifecycle.stop.clone());
            let (listener, stop_delay) = (http.listener, http.options.stop_delay);
            tracing::info!(address = %listener.local_addr()?, "listening");
            let context = Context::new(&db, &http.domain);
            let stack = Stack {
                auth: http.auth,
                options: &http.options,
                timing: timing.http,
                methods: web::openapi::methods(&self.openapi()),
                work: lifecycle.work.clone(),
                is_traced,
            };
            let prepared = (
                prepared.clone(),
                Instant::now() + timing.first_requests_wait,
            );
            let routes = self.stacked(context, prepared, health, stack);
            lifecycle.spawn_http(listener, routes, stop_delay);
        }
        let preparation = Preparation {
            db: beside.clone(),
            publishes: jetstream.is_some(),
            collections: self.collections,
            event_retention,
            consumes: !sources.consumers.is_empty(),
            timing,
        };
        let publisher = jetstream.map(|jetstream| Publisher {
            outbox: Outbox::new(&beside),
            jetstream,
            event_retention,
            timing: timing.outbox,
            is_traced,
            recent,
        });
        let served = lifecycle.served.clone();
        lifecycle.spawn(
            "outbox",
            prepare_and_publish(preparation, prepared, publisher, served),
        );
        let stop = lifecycle.stop.clone();
        let mut running = pin!(lifecycle.run(&db));
        let Some(admin) = process.admin else {
            return running.await;
        };
        // Those who run the service can read its metrics to the end.
        tokio::select! {
            ended = &mut running => ended,
            failed = admin::serve(admin, sources, timing, stop.clone()) => {
                stop.cancel();
                running.await.and(failed)
            }
        }
    }

    /// The domain's routes inside the middleware, health and the page of the interface beside them. Until the database is prepared,
    /// requests of the domain wait until the given moment.
    fn stacked(
        &self,
        context: Context<O>,
        (prepared, limit): (CancellationToken, Instant),
        health: Health,
        stack: Stack<'_>,
    ) -> Router {
        let (domain, _) = self.domain().with_state(context).split_for_parts();
        // A clone of the token itself takes a lock, and the layers above clone this one several times for each request.
        let prepared = Arc::new(prepared);
        let domain = domain.layer(map_request(move |request: Request| {
            let prepared = Arc::clone(&prepared);
            async move {
                if !prepared.is_cancelled() {
                    // Afterwards it is refused where the database is asked for.
                    drop(timeout_at(limit, prepared.cancelled()).await);
                }
                request
            }
        }));
        let (health, _) = health::routes().with_state(health).split_for_parts();
        let (problems, _) = problems::routes(self.problems).split_for_parts();
        let open = health
            .merge(problems)
            .merge(web::openapi::routes(self.openapi()))
            .merge(web::asyncapi::routes(self.asyncapi()));
        web::stack(domain, open, stack)
    }
}

async fn prepare_and_publish(
    preparation: Preparation,
    is_prepared: CancellationToken,
    publisher: Option<Publisher>,
    served: CancellationToken,
) -> anyhow::Result<()> {
    let retention_is_ours = match served.run_until_cancelled(preparation.first()).await {
        Some(prepared) => prepared?,
        None => return Ok(()),
    };
    is_prepared.cancel();
    let publishing = async {
        match publisher {
            Some(publisher) => publisher.run(served).await,
            None => {
                served.cancelled().await;
                Ok(())
            }
        }
    };
    tokio::select! {
        ended = publishing => ended,
        foreign = preparation.keep(retention_is_ours) => Err(foreign.into()),
    }
}
