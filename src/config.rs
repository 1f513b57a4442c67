//! The configuration, and the only reader of the environment.
//! Every variable is also a flag, so `--help` is the reference; a value that is missing or bad is
//! told in one line that names the variable and what it wants, and never shows what was given.

mod parse;

use std::{fmt::Display, net::SocketAddr, path::PathBuf, time::Duration};

use axum::http::HeaderValue;
use clap::{
    ArgAction, Args, ValueEnum,
    error::{ContextKind, ContextValue},
};
use db::MongoOptions;
use secrecy::{ExposeSecret, SecretString};

use parse::*;
pub use parse::{duration, listen_addr};

/// The package's name: the default database, the event source and, in capitals, the stream.
pub const SERVICE: &str = env!("CARGO_PKG_NAME");

/// Empty is as good as not set. (clap takes a field that is written `Option` or `Vec` for one that may be absent or
/// repeated, and would not accept an empty variable.)
pub type Maybe<T> = Option<T>;
/// As browsers send them in `Origin`.
pub type Origins = Vec<HeaderValue>;

/// Everything that the service can be told.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub mongo: MongoOptions,
    #[command(flatten)]
    pub events: EventConfig,
    #[command(flatten)]
    pub nats: NatsConfig,
    #[command(flatten)]
    pub admin: AdminConfig,
}

/// Who may call, and where.
#[derive(Debug, Clone, Args)]
pub struct HttpConfig {
    /// Address and port to listen on.
    #[arg(long, env, value_name = "LISTEN_ADDR", default_value = "0.0.0.0:3000", value_parser = listen_addr)]
    pub listen_addr: SocketAddr,
    #[command(flatten)]
    pub jwt: JwtConfig,
    /// Whether a token without `exp` is refused.
    #[arg(long, env, value_name = "JWT_REQUIRE_EXP", default_value = "true", action = ArgAction::Set, value_parser = boolean)]
    pub jwt_require_exp: bool,
    /// Name of the cookie that may hold the token, as Express's cookie-session writes it.
    #[arg(long, env, value_name = "SESSION_COOKIE", default_value = "express:sess", value_parser = cookie_name)]
    pub session_cookie: String,
    /// Requests a second of one user, or of one address where there is no user; twice as many at once. 0 for no limit.
    #[arg(long, env, value_name = "RATE_LIMIT", default_value = "100", value_parser = requests_per_second)]
    pub rate_limit: u32,
    /// Requests that are worked on at once, 1000 at most; those above are answered 503 at once.
    #[arg(long, env, value_name = "CONCURRENCY_LIMIT", default_value = "256", value_parser = concurrency)]
    pub concurrency_limit: usize,
    /// How long requests are still taken after a stop is asked for and /health/ready says so.
    #[arg(long, env, value_name = "STOP_DELAY", default_value = "1s", value_parser = delay)]
    pub stop_delay: Duration,
    /// Origins whose pages may call, cookies included, separated by commas. None by default.
    #[arg(long, env, value_name = "CORS_ORIGINS", default_value = "", hide_default_value = true, value_parser = origins)]
    pub cors_origins: Origins,
}

/// The listener for those who run the service.
#[derive(Debug, Clone, Args)]
pub struct AdminConfig {
    /// Address and port of /metrics; keep it from the public.
    #[arg(long, env, value_name = "ADMIN_ADDR", default_value = "127.0.0.1:9090", value_parser = listen_addr)]
    pub admin_addr: SocketAddr,
}

/// What tokens are signed or checked with: one of the two is needed.
#[derive(Debug, Clone, Args)]
pub struct JwtConfig {
    /// HS256 key of the tokens: 32 bytes or more, shared with whoever signs them. Required, but where there is
    /// a `JWT_PUBLIC_KEY_FILE`.
    #[arg(long, env, value_name = "JWT_KEY", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = jwt_key)]
    pub jwt_key: SecretString,
    /// PEM file of a public key that tokens are checked with instead: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).
    #[arg(long, env, value_name = "JWT_PUBLIC_KEY_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub jwt_public_key_file: Maybe<PathBuf>,
    /// Who has to have issued a token (`iss`). Anyone with the key by default.
    #[arg(long, env, value_name = "JWT_ISSUER", default_value = "", hide_default_value = true, value_parser = claim)]
    pub jwt_issuer: Maybe<String>,
    /// Whom a token has to be for (`aud`): with an issuer that serves other applications too, its tokens for those are refused.
    #[arg(long, env, value_name = "JWT_AUDIENCE", default_value = "", hide_default_value = true, value_parser = claim)]
    pub jwt_audience: Maybe<String>,
}

/// The events in the database.
#[derive(Debug, Clone, Args)]
pub struct EventConfig {
    /// How long an event is kept after it was published. One that is not published is kept for ever.
    #[arg(long, env, value_name = "EVENT_RETENTION", default_value = "7d", value_parser = retention)]
    pub event_retention: Duration,
}

/// The broker.
#[derive(Debug, Clone, Args)]
pub struct NatsConfig {
    /// NATS servers, separated by commas. Required.
    #[arg(long, env, value_name = "NATS_URL", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = nats_url)]
    pub nats_url: SecretString,
    /// JetStream stream that the events are published to; created at start where there is none.
    #[arg(long, env, value_name = "NATS_STREAM", default_value_t = SERVICE.to_ascii_uppercase(), value_parser = stream_name)]
    pub nats_stream: String,
    /// Replicas of the stream when it is created: 1, 3 or 5.
    #[arg(long, env, value_name = "NATS_REPLICAS", default_value = "1", value_parser = replicas)]
    pub nats_replicas: usize,
    /// De-duplication window of the stream when it is created.
    #[arg(long, env, value_name = "NATS_DUPLICATE_WINDOW", default_value = "2m", value_parser = duplicate_window)]
    pub nats_duplicate_window: Duration,
    /// Put before every subject, with a dot between, so that environments can share one NATS.
    #[arg(long, env, value_name = "NATS_SUBJECT_PREFIX", default_value = "", hide_default_value = true, value_parser = subject_prefix)]
    pub nats_subject_prefix: String,
    /// Credentials file (JWT and seed), as `nsc` writes it.
    #[arg(long, env, value_name = "NATS_CREDS_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_creds_file: Maybe<PathBuf>,
    /// PEM file of the authorities that NATS's certificate is checked with, besides the system's. Turns TLS on.
    #[arg(long, env, value_name = "NATS_TLS_CA_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_tls_ca_file: Maybe<PathBuf>,
    /// PEM file of our certificate, where NATS asks for one; with `NATS_TLS_KEY_FILE`.
    #[arg(long, env, value_name = "NATS_TLS_CERT_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_tls_cert_file: Maybe<PathBuf>,
    /// PEM file of that certificate's private key.
    #[arg(long, env, value_name = "NATS_TLS_KEY_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_tls_key_file: Maybe<PathBuf>,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub struct LogConfig {
    /// What to log: a level, or directives such as `info,service=debug`.
    #[arg(long, env, value_name = "RUST_LOG", default_value = "info", value_parser = log_filter)]
    pub rust_log: String,
    /// Lines for people (`text`) or for machines (`json`).
    #[arg(
        long,
        env,
        value_name = "LOG_FORMAT",
        default_value = "text",
        ignore_case = true
    )]
    pub log_format: LogFormat,
    /// Collector of traces (OTLP over HTTP, without /v1/traces). No traces by default.
    #[arg(long, env, value_name = "OTEL_EXPORTER_OTLP_ENDPOINT", default_value = "", hide_default_value = true, value_parser = otlp_endpoint)]
    pub otel_exporter_otlp_endpoint: Maybe<String>,
}

/// See [`LogConfig::log_format`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// A value that reads well, but whose options can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable} cannot be used: {reason}")]
pub struct Unusable {
    pub variable: &'static str,
    pub reason: String,
}

/// Makes an [`Unusable`] of a reason: for `map_err`.
pub(crate) fn unusable<E: Display>(variable: &'static str) -> impl Fn(E) -> Unusable {
    move |reason| Unusable {
        variable,
        reason: reason.to_string(),
    }
}

/// Reads `.env` into the environment, where there is one; what is set already wins.
/// Call it before any thread starts.
///
/// # Errors
/// One line that names the file and the place, never its contents.
pub fn load_dotenv() -> Result<(), String> {
    match dotenvy::dotenv() {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(dotenvy::Error::LineParse(_, at)) => Err(format!(
            ".env wants lines of NAME=value: one cannot be read, at its character {at}"
        )),
        Err(error) => Err(format!(".env cannot be read: {error}")),
    }
}

/// One line for a bad value: which variable, and what it wants. `None` for help and for a wrong command line,
/// which clap tells best itself.
pub fn bad_value(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let (flag, value) = arg.split_once('<')?;
    // A value in capitals is an environment variable of that name.
    let name = match value.trim_end_matches('>') {
        variable if !variable.contains(char::is_lowercase) => variable,
        _ => flag.trim(),
    };
    if let Some(wants) = std::error::Error::source(error) {
        return Some(format!("{name} wants {wants}"));
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => {
            Some(format!("{name} wants one of: {}", values.join(", ")))
        }
        _ => None,
    }
}

impl NatsConfig {
    /// The servers, which may hold passwords.
    pub fn urls(&self) -> Vec<String> {
        self.nats_url
            .expose_secret()
            .split(',')
            .map(str::to_owned)
            .collect()
    }
}
