//! What a process runs: HTTP, the publisher and the admin listener, each where it is wanted, under one [`Lifecycle`].

use axum::Router;
use db::{Db, MongoOptions, setting::Unusable};
use messaging::{EventOptions, JetStream, NatsOptions, Outbox, Publisher};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use web::{Authenticator, HttpOptions, Stack};

use crate::{
    Context, NoOptions, Service, Timing, admin, health, health::Health, lifecycle::Lifecycle,
    prepare::prepare,
};

/// The HTTP interface.
pub struct Http<O = NoOptions> {
    /// Bound already, so that the caller knows its port.
    pub listener: TcpListener,
    pub options: HttpOptions,
    pub auth: Authenticator,
    /// The domain's own.
    pub domain: O,
}

/// What a process is to run, and the servers behind it.
pub struct Process<O = NoOptions> {
    db: Db,
    /// `None` where this process does not publish.
    jetstream: Option<JetStream>,
    events: EventOptions,
    timing: Timing,
    /// `None` where it only publishes.
    pub http: Option<Http<O>>,
    /// The listener of the metrics, where they are wanted; they can be read to the end.
    pub admin: Option<TcpListener>,
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
            admin: None,
            is_traced: false,
        })
    }

    /// Runs until `stop`, then drains: the HTTP interface where there is one, then the publisher where there is a broker.
    ///
    /// # Errors
    /// When a task ends before `stop`: the process must not go on without it.
    pub async fn serve(self, process: Process<O>, stop: CancellationToken) -> anyhow::Result<()> {
        let Process {
            db,
            jetstream,
            events,
            timing,
            http,
            admin,
            is_traced,
        } = process;
        let mut lifecycle = Lifecycle::new(stop.clone());
        let mut drain_limit = timing.drain;
        if let Some(http) = http {
            drain_limit += http.options.stop_delay;
            let nats = jetstream.as_ref().map(|nats| nats.client().clone());
            let health = Health::new(db.clone(), nats, stop);
            self.spawn_http(&mut lifecycle, http, &db, health, timing, is_traced)?;
        } else {
            // Nothing is to be answered first.
            lifecycle.served = stop;
        }
        let (prepared, served) = (db.clone(), lifecycle.served.clone());
        lifecycle.spawn("outbox", async move {
            let preparing = prepare(&prepared, &self.collections, events.event_retention, timing);
            match served.run_until_cancelled(preparing).await {
                Some(prepared) => prepared?,
                None => return Ok(()),
            }
            let Some(jetstream) = jetstream else {
                served.cancelled().await;
                return Ok(());
            };
            let publisher = Publisher {
                outbox: Outbox::new(&prepared),
                jetstream,
                event_retention: events.event_retention,
                timing: timing.outbox,
                is_traced,
            };
            publisher.run(served).await
        });
        let running = lifecycle.run(&db, drain_limit);
        let Some(listener) = admin else {
            return running.await;
        };
        tokio::select! {
            ended = running => ended,
            ended = admin::serve(listener, self.about, Outbox::new(&db), timing.http) => ended,
        }
    }

    fn spawn_http(
        &self,
        lifecycle: &mut Lifecycle,
        http: Http<O>,
        db: &Db,
        health: Health,
        timing: Timing,
        is_traced: bool,
    ) -> anyhow::Result<()> {
        let Http {
            listener,
            options,
            auth,
            domain,
        } = http;
        tracing::info!(address = %listener.local_addr()?, "listening");
        let (routes, _) = (self.routes)()
            .with_state(Context::new(db, domain))
            .split_for_parts();
        let (health, _) = health::routes().with_state(health).split_for_parts();
        let open = health.merge(web::openapi::routes(self.openapi()));
        let stack = Stack {
            auth,
            options: &options,
            timing: timing.http,
            is_traced,
        };
        let routes: Router = web::stack(routes, open, stack);
        let Lifecycle {
            stop,
            closing,
            served,
            ..
        } = lifecycle;
        let (stop, closing, served) = (stop.clone(), closing.clone(), served.clone());
        lifecycle.spawn("http", async move {
            // What the last requests save is published as well.
            let _served = served.drop_guard();
            let deadline = async {
                stop.cancelled().await;
                // Those who send requests here hear first, from `/health/ready`, that it is to end.
                tokio::time::sleep(options.stop_delay).await;
                closing.cancel();
                tokio::time::sleep(timing.http_drain).await;
            };
            tokio::select! {
                () = web::serve(listener, routes, timing.http, closing.clone()) => {}
                () = deadline => tracing::warn!("some requests were not finished before the deadline"),
            }
            Ok(())
        });
        Ok(())
    }
}
