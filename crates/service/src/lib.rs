//! A process: command line, configuration, telemetry, metrics, health and lifecycle around a domain.
//!
//! [`Service`] is what `main.rs` lists; [`Service::run`] reads the command line, [`Service::serve`] runs what it asks for,
//! and `lifecycle` says in which order it ends.

mod admin;
mod command_line;
mod consumers;
mod context;
mod dotenv;
mod health;
mod healthcheck;
mod lifecycle;
mod log;
mod metrics;
mod options;
mod prepare;
mod problems;
mod secrets;
mod serve;
mod telemetry;
mod timing;

use db::Db;
use futures_util::future::BoxFuture;
use messaging::{Consumer, EventType};
use utoipa::openapi::{Info, InfoBuilder, LicenseBuilder, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use web::Kind;

pub use admin::READ_INTERVAL;
pub use context::{Context, NoOptions, metadata};
pub use health::PING_INTERVAL;
pub use serve::{Consumption, Http, Process};
pub use telemetry::FLUSH_LIMIT;
pub use timing::Timing;

type Routes<O> = fn() -> OpenApiRouter<Context<O>>;
type Collections = for<'a> fn(&'a Db) -> BoxFuture<'a, mongodb::error::Result<()>>;

/// What the service is called, and what its documents say of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) description: &'static str,
    /// An SPDX expression.
    pub(crate) license: &'static str,
}

impl About {
    fn info(self) -> Info {
        let license = LicenseBuilder::new()
            .name(self.license)
            .identifier(Some(self.license));
        InfoBuilder::new()
            .title(self.name)
            .version(self.version)
            .description(Some(self.description))
            .license(Some(license.build()))
            .build()
    }
}

/// Where a service listens if nobody says otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) admin: u16,
}

/// What a service is made of: a name, and a domain.
pub struct Service<O = NoOptions> {
    about: About,
    ports: Ports,
    problems: &'static [Kind],
    routes: Option<Routes<O>>,
    collections: Vec<Collections>,
    events: &'static [EventType],
    consumers: Vec<Consumer<Context<O>>>,
}

impl Service {
    /// A service without a domain. Its name is that of the program, of the database where `MONGO_URI` names none, of the
    /// events' source and, in capitals, of the stream.
    pub fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            about: About {
                name,
                version,
                description: "",
                license: "",
            },
            ports: Ports {
                http: 3000,
                admin: 9090,
            },
            problems: &[],
            routes: None,
            collections: Vec::new(),
            events: &[],
            consumers: Vec::new(),
        }
    }

    /// The domain's own settings; first in the list, since what follows has their type.
    ///
    /// # Panics
    /// After the routes or the consumers, which would be lost.
    pub fn options<O: Send + Sync + 'static>(self) -> Service<O> {
        let is_first = self.routes.is_none() && self.consumers.is_empty();
        assert!(is_first, "options stand before routes and consumers");
        Service {
            about: self.about,
            ports: self.ports,
            problems: self.problems,
            routes: None,
            collections: self.collections,
            events: self.events,
            consumers: Vec::new(),
        }
    }
}

impl<O> Service<O> {
    /// What it does, in a sentence for `--help` and the OpenAPI document; and its licence, an SPDX expression.
    #[must_use]
    pub fn about(mut self, description: &'static str, license: &'static str) -> Self {
        self.about.description = description;
        self.about.license = license;
        self
    }

    /// The ports of `LISTEN_ADDR` and `ADMIN_ADDR` where they are not set, 3000 and 9090 else: siblings on one machine have other ones.
    #[must_use]
    pub fn ports(mut self, http: u16, admin: u16) -> Self {
        self.ports = Ports { http, admin };
        self
    }

    /// Makes the domain's collections and indexes, at each start; writes are taken when it has.
    #[must_use]
    pub fn collections(mut self, ensure: Collections) -> Self {
        self.collections.push(ensure);
        self
    }

    /// What can be asked: a function without a database, so that `openapi` runs without one.
    ///
    /// # Panics
    /// The second time.
    #[must_use]
    pub fn routes(mut self, routes: Routes<O>) -> Self {
        let before = self.routes.replace(routes);
        assert!(before.is_none(), "a service has one list of routes");
        self
    }

    /// The kinds of problems that only this domain has, for [`web::Refusal::Own`]: `/problems/{kind}` says what they mean.
    ///
    /// # Panics
    /// Where a kind is at no address of its own there.
    #[must_use]
    pub fn problems(mut self, kinds: &'static [Kind]) -> Self {
        let is_own =
            |kind: &Kind| problems::is_address(kind) && Kind::of_name(kind.name()).is_none();
        assert!(
            kinds.iter().all(is_own),
            "a kind is at /problems/, by a name that is not taken"
        );
        self.problems = kinds;
        self
    }

    /// The types of the events that the domain records.
    ///
    /// # Panics
    /// The second time.
    #[must_use]
    pub fn publishes(mut self, events: &'static [EventType]) -> Self {
        assert!(self.events.is_empty(), "a service has one list of events");
        self.events = events;
        self
    }

    /// A stream that the domain consumes, and the handler of its messages. The consumer's name makes its flags: `reservations` is told its
    /// stream by `--reservations-stream` and `RESERVATIONS_STREAM`.
    ///
    /// # Panics
    /// Where another consumer has the name.
    #[must_use]
    pub fn consumes(mut self, consumer: fn() -> Consumer<Context<O>>) -> Self {
        let consumer = consumer();
        let is_new = self.consumers.iter().all(|it| it.name() != consumer.name());
        assert!(is_new, "each consumer has a name of its own");
        self.consumers.push(consumer);
        self
    }

    pub(crate) fn consumer_names(&self) -> Vec<&'static str> {
        self.consumers.iter().map(Consumer::name).collect()
    }
}

impl<O: Send + Sync + 'static> Service<O> {
    fn domain(&self) -> OpenApiRouter<Context<O>> {
        self.routes
            .map_or_else(OpenApiRouter::new, |routes| routes())
    }

    /// What can be asked of it, for machines to read.
    pub fn openapi(&self) -> OpenApi {
        let (_, domain) = self.domain().split_for_parts();
        let (_, health) = health::routes().split_for_parts();
        let (_, problems) = problems::routes(self.problems).split_for_parts();
        web::openapi::document(self.about.info(), domain, health.merge_from(problems))
    }
}
