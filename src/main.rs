//! The command line: reads it, hands over to the library, and turns the outcome into an exit code
//! (0 done, 1 failed, 2 bad command line or configuration).

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use db::{MongoOptions, Unusable};
use messaging::{EventOptions, NatsOptions, commands::OutboxCommand};
use service::{
    app::{self, Http, Servers, Timing},
    auth::{self, Authenticator},
    config::{self, AdminConfig, Config, JwtConfig, LogConfig, SERVICE},
    metrics, telemetry,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Configuration comes from flags, the environment and a file .env, in this order.",
    flatten_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the REST interface and publish events; what is done without a command.
    Serve(Box<Serve>),
    /// Only publish events.
    Publish(Publish),
    /// Look after the outbox.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Print the OpenAPI document.
    Openapi,
    /// Print a token for a user, signed with JWT_KEY.
    Token(Token),
    /// Ask a service on this machine whether it is ready; for images without a shell.
    Healthcheck(Healthcheck),
}

#[derive(Args)]
struct Serve {
    /// Leave publishing to processes of the command `publish`. NATS is not connected to then.
    #[arg(long)]
    no_publisher: bool,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    log: LogConfig,
}

#[derive(Args)]
struct Publish {
    #[command(flatten)]
    mongo: MongoOptions,
    #[command(flatten)]
    events: EventOptions,
    #[command(flatten)]
    nats: NatsOptions,
    #[command(flatten)]
    admin: AdminConfig,
    #[command(flatten)]
    log: LogConfig,
}

#[derive(Args)]
struct Token {
    /// The user's id.
    #[arg(long)]
    user: String,
    #[arg(long)]
    email: Option<String>,
    /// How long the token is valid.
    #[arg(long, value_name = "duration", default_value = "1h", value_parser = config::duration)]
    ttl: Duration,
    #[command(flatten)]
    jwt: JwtConfig,
}

#[derive(Args)]
struct Healthcheck {
    /// The address that the service listens on.
    #[arg(long, env, value_name = "LISTEN_ADDR", default_value = "0.0.0.0:3000", value_parser = config::listen_addr)]
    listen_addr: SocketAddr,
}

fn main() -> ExitCode {
    if let Err(line) = config::load_dotenv() {
        eprintln!("{line}");
        return ExitCode::from(2);
    }
    let mut args: Vec<_> = std::env::args_os().collect();
    if args.len() == 1 {
        args.push("serve".into());
    }
    let read = named(Cli::command()).try_get_matches_from(args);
    let cli = match read.and_then(|read| Cli::from_arg_matches(&read)) {
        Ok(cli) => cli,
        Err(error) => match config::bad_value(&error) {
            Some(line) => {
                eprintln!("{line}");
                return ExitCode::from(2);
            }
            None => error.exit(),
        },
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(if error.is::<Unusable>() { 2 } else { 1 })
        }
    }
}

/// Sets what hangs on the service's name, in every subcommand.
fn named(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_id().as_str() {
        "nats_stream" => arg
            .required(false)
            .default_value(SERVICE.to_ascii_uppercase()),
        "key" => arg.visible_alias(app::KEY_ALIAS),
        _ => arg,
    });
    command.mut_subcommands(named)
}

#[tokio::main]
async fn execute(command: Command) -> anyhow::Result<()> {
    // The one provider in the tree; TLS panics without it.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match command {
        Command::Serve(serve) => {
            let Serve {
                no_publisher,
                config,
                log,
            } = *serve;
            let telemetry = telemetry::init(&log)?;
            metrics::install()?;
            // A bad key is told before anything is connected.
            let auth = Authenticator::new(&config.http)?;
            let nats = (!no_publisher).then_some(&config.nats);
            let servers =
                Servers::new(&config.mongo, &config.events, nats, Timing::default()).await?;
            let address = config.http.listen_addr;
            let listener = listen(address, "LISTEN_ADDR").await?;
            let admin = listen(config.admin.admin_addr, "ADMIN_ADDR").await?;
            let http = Some(Http {
                listener,
                config: config.http,
                auth,
            });
            let ended = app::run(http, Some(admin), servers, stop_on_signal()?).await;
            telemetry.end().await;
            ended
        }
        Command::Publish(Publish {
            mongo,
            events,
            nats,
            admin,
            log,
        }) => {
            let telemetry = telemetry::init(&log)?;
            metrics::install()?;
            let servers = Servers::new(&mongo, &events, Some(&nats), Timing::default()).await?;
            let admin = listen(admin.admin_addr, "ADMIN_ADDR").await?;
            let ended = app::run(None, Some(admin), servers, stop_on_signal()?).await;
            telemetry.end().await;
            ended
        }
        Command::Outbox(command) => {
            messaging::commands::execute(command, SERVICE, app::SUBJECTS).await
        }
        Command::Openapi => {
            println!("{}", app::openapi().to_pretty_json()?);
            Ok(())
        }
        Command::Token(Token {
            user,
            email,
            ttl,
            jwt,
        }) => {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)?
                .as_secs();
            println!(
                "{}",
                auth::sign(&jwt, &user, email.as_deref(), now, ttl.as_secs())?
            );
            Ok(())
        }
        Command::Healthcheck(Healthcheck { listen_addr }) => {
            tokio::time::timeout(Duration::from_secs(3), healthcheck(listen_addr))
                .await
                .context("no answer in 3 s")?
        }
    }
}

async fn listen(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; {variable} chooses another address"))
}

/// Cancelled by Ctrl-C or SIGTERM.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signalled.cancel();
    });
    Ok(stop)
}

async fn healthcheck(mut address: SocketAddr) -> anyhow::Result<()> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let mut connection = TcpStream::connect(address).await?;
    connection
        .write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    ensure!(
        answer.starts_with("HTTP/1.1 200"),
        "not ready: {}",
        answer.lines().next().unwrap_or_default()
    );
    Ok(())
}
