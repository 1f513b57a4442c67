//! The command line: what a program of a [`Service`] can be asked, and with which exit code it ends
//! (0 done, 1 failed, 2 bad command line or configuration).

mod cli;

use std::{
    io::{self, Write, stdout},
    mem::ManuallyDrop,
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, bail, ensure};
use clap::{Args, CommandFactory, FromArgMatches};
use db::setting::Unusable;
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, runtime::Runtime};
use web::{Authenticator, HttpOptions, raise_file_limit, sign};

use crate::{
    Admin, Http, Ports, Service, Timing, dotenv,
    healthcheck::healthcheck,
    lifecycle::stop_on_signal,
    log, metrics,
    options::{bad_value, told, without_what_is_empty},
    secrets, telemetry,
};

use cli::{Cli, Command, Healthcheck, ServerOptions};

const COLUMNS: usize = 80;
const NO_CONSUMERS: &str = "this service consumes nothing";

impl<O: Args + Send + Sync + 'static> Service<O> {
    /// Does what the command line asks for.
    pub fn run(self) -> ExitCode {
        let twice = match dotenv::load() {
            Ok(twice) => twice,
            Err(line) => return refused(line),
        };
        let unread = secrets::load();
        // From here on there may be threads.
        twice.into_iter().for_each(log::last_line);
        let mut args: Vec<_> = std::env::args_os().collect();
        if args.len() == 1 {
            args.push("serve".into());
        }
        let read = self.command_line().try_get_matches_from(args);
        let refusal = match &read {
            Ok(read) => secrets::by_flag(read).or_else(|| Some(unread.of(read)?.to_owned())),
            // What seems to be missing may stand in a file that can't be read.
            Err(error) => bad_value(error).and_then(|told| Some(unread.behind(&told)?.to_owned())),
        };
        if let Some(line) = refusal {
            return refused(line);
        }
        let read = read.and_then(|read| {
            let streams = self.streams(&read);
            Ok((Cli::<O>::from_arg_matches(&read)?, streams))
        });
        let (cli, streams) = match read {
            Ok(read) => read,
            Err(error) => return bad_value(&error).map_or_else(|| told(error), refused),
        };
        match self.execute(cli.command, streams) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever reads has read enough, as `head` does.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                log::last_line(format!("{error:#}"));
                ExitCode::from(if error.is::<Unusable>() { 2 } else { 1 })
            }
        }
    }

    /// With all that hangs on the service's name, in every subcommand.
    fn command_line(&self) -> clap::Command {
        fn named(
            command: clap::Command,
            stream: &str,
            ports: Ports,
            noun: Option<&'static str>,
        ) -> clap::Command {
            let command = command.mut_args(|arg| match (arg.get_id().as_str(), noun) {
                ("nats_stream", _) => arg.required(false).default_value(stream.to_owned()),
                ("key", Some(noun)) if !arg.is_positional() => arg.visible_alias(noun),
                ("listen_addr", _) => arg.default_value(format!("0.0.0.0:{}", ports.http)),
                ("admin_addr", _) => arg.default_value(format!("127.0.0.1:{}", ports.admin)),
                _ => arg,
            });
            let command = command.mut_args(without_what_is_empty);
            let command = secrets::explained(command.mut_args(secrets::hidden));
            command.mut_subcommands(|command| named(command, stream, ports, noun))
        }
        let about = self.about;
        let noun = self.events.first().map(|event| event.noun());
        let command = Cli::<O>::command().name(about.name).version(about.version);
        let command = self.with_consumers(command);
        let command = command.term_width(COLUMNS).about(about.description);
        named(command, &self.stream(), self.ports, noun)
    }

    /// The runtime ends with the process. If it were dropped, a task of the MongoDB driver could panic because another is gone
    /// already, and the panic would stand on stderr beside our one line.
    fn execute(self, command: Command<O>, streams: Vec<String>) -> anyhow::Result<()> {
        let runtime = ManuallyDrop::new(Runtime::new()?);
        runtime.block_on(self.perform(command, streams))
    }

    async fn perform(self, command: Command<O>, streams: Vec<String>) -> anyhow::Result<()> {
        // The one provider in the tree; TLS panics without it.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        match command {
            Command::Serve(mut serve) => {
                // They are read again when they change.
                let jwt = &mut serve.http.jwt;
                jwt.jwt_key_file = secrets::file_of("jwt_key");
                jwt.jwt_key_previous_file = secrets::file_of("jwt_key_previous");
                let domain = Arc::new(serve.domain);
                ensure!(
                    !serve.no_consumers || !self.consumers.is_empty(),
                    NO_CONSUMERS
                );
                let consumes = !serve.no_consumers && !self.consumers.is_empty();
                let parts = Parts {
                    publishes: !serve.no_publisher && !self.events.is_empty(),
                    consumes: consumes.then(|| (streams, Arc::clone(&domain))),
                    http: Some((serve.http, domain)),
                };
                self.start(serve.servers, parts).await
            }
            Command::Publish(servers) => {
                ensure!(!self.events.is_empty(), "this service publishes nothing");
                let parts = Parts {
                    publishes: true,
                    consumes: None,
                    http: None,
                };
                self.start(*servers, parts).await
            }
            Command::Consume(consume) => {
                ensure!(!self.consumers.is_empty(), NO_CONSUMERS);
                let parts = Parts {
                    publishes: false,
                    consumes: Some((streams, Arc::new(consume.domain))),
                    http: None,
                };
                self.start(consume.servers, parts).await
            }
            Command::Outbox(command) => {
                // As the first process of a container it would hear no signal by itself.
                let stop = stop_on_signal()?;
                tokio::select! {
                    biased;
                    done = messaging::commands::execute(command, self.about.name, self.events) => done,
                    () = stop.cancelled() => bail!("interrupted"),
                }
            }
            Command::Inbox(command) => {
                let (stop, names) = (stop_on_signal()?, self.consumer_names());
                tokio::select! {
                    biased;
                    done = messaging::commands::execute_inbox(command, self.about.name, &names) => done,
                    () = stop.cancelled() => bail!("interrupted"),
                }
            }
            Command::Openapi => Ok(writeln!(stdout(), "{}", self.openapi().to_pretty_json()?)?),
            Command::Asyncapi => Ok(writeln!(stdout(), "{:#}", self.asyncapi())?),
            Command::Token(of) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
                let (now, ttl) = (now.as_secs(), of.ttl.as_secs());
                let token = sign(&of.jwt, &of.user, of.email.as_deref(), now, ttl)?;
                Ok(writeln!(stdout(), "{token}")?)
            }
            Command::Healthcheck(Healthcheck { listen_addr }) => healthcheck(listen_addr).await,
        }
    }

    async fn start(self, servers: ServerOptions, parts: Parts<O>) -> anyhow::Result<()> {
        let Parts {
            publishes,
            consumes,
            http,
        } = parts;
        servers.log.check(self.about.name)?;
        let telemetry = telemetry::init(self.about, &servers.log)?;
        metrics::install()?;
        let stop = stop_on_signal()?;
        raise_file_limit();
        // A bad key is told before anything is connected.
        let auth = http.as_ref().map(|(http, _)| Authenticator::new(http));
        let auth = auth.transpose()?;
        let nats = publishes.then_some(&servers.nats);
        let process = self.connect(&servers.mongo, servers.events, nats, Timing::default());
        // The servers' names are looked up until they are found.
        let Some(process) = stop.run_until_cancelled(process).await else {
            telemetry.end().await;
            return Ok(());
        };
        let mut process = process?;
        if let Some((streams, domain)) = consumes {
            let consumption = self.consumption(&servers.nats, streams, domain, Timing::default());
            process.consumption = Some(consumption.await?);
        }
        if let (Some((options, domain)), Some(auth)) = (http, auth) {
            let listener = listen(options.listen_addr, "LISTEN_ADDR").await?;
            process.http = Some(Http {
                listener,
                options,
                auth,
                domain,
            });
        }
        let admin = servers.admin.admin_addr;
        if admin.ip().is_unspecified() {
            tracing::warn!(address = %admin, "ADMIN_ADDR is open on all interfaces: whoever reaches it reads the metrics");
        }
        let token = servers.admin.admin_token;
        process.admin = Some(Admin {
            listener: listen(admin, "ADMIN_ADDR").await?,
            token: (!token.expose_secret().is_empty()).then_some(token),
            hosts: servers.admin.admin_hosts,
        });
        process.is_traced = telemetry.is_traced();
        let ended = self.serve(process, stop).await;
        telemetry.end().await;
        ended
    }
}

/// What a process runs.
struct Parts<O> {
    publishes: bool,
    /// The streams, in the order of the consumers.
    consumes: Option<(Vec<String>, Arc<O>)>,
    http: Option<(HttpOptions, Arc<O>)>,
}

/// How a process ends that can't use its configuration.
fn refused(line: String) -> ExitCode {
    log::last_line(line);
    ExitCode::from(2)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn listen(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; {variable} chooses another address"))
}

#[cfg(test)]
mod tests;
