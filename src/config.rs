//! The configuration, and the only reader of the environment.
//! Every variable is also a flag, so `--help` is the reference; a value that is missing or bad is
//! told in one line that names the variable and what it wants, and never shows what was given.

mod parse;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use axum::http::HeaderValue;
use clap::{
    ArgAction, Args, ValueEnum,
    error::{ContextKind, ContextValue},
};
use db::MongoOptions;
use messaging::{EventOptions, Maybe, NatsOptions};
use secrecy::SecretString;

use parse::*;
pub use parse::{duration, listen_addr};

/// The package's name: the default database, the event source and, in capitals, the stream.
pub const SERVICE: &str = env!("CARGO_PKG_NAME");

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
    pub events: EventOptions,
    #[command(flatten)]
    pub nats: NatsOptions,
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

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub struct LogConfig {
    /// What to log: a level, or directives such as `info,service=debug,messaging=debug`.
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
