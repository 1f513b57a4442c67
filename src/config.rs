//! The configuration, and the only reader of the environment.
//! Every variable is also a flag, so `--help` is the reference; a value that is missing or bad is
//! told in one line that names the variable and what it wants, and never shows what was given.

use std::{fmt::Display, net::SocketAddr, str::FromStr, time::Duration};

use clap::{
    ArgAction, Args, ValueEnum,
    error::{ContextKind, ContextValue},
};
use secrecy::{ExposeSecret, SecretString};

/// The package's name: the default database, the event source and, in capitals, the stream.
pub const SERVICE: &str = env!("CARGO_PKG_NAME");

/// Everything that the service can be told.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub mongo: MongoConfig,
    #[command(flatten)]
    pub nats: NatsConfig,
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
}

/// The secret that tokens are signed with.
#[derive(Debug, Clone, Args)]
pub struct JwtConfig {
    /// HS256 key of the tokens: 32 bytes or more, shared with whoever signs them. Required.
    #[arg(long, env, value_name = "JWT_KEY", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = jwt_key)]
    pub jwt_key: SecretString,
}

/// The database.
#[derive(Debug, Clone, Args)]
pub struct MongoConfig {
    /// Connection string of a replica set; its path names the database. Required.
    #[arg(long, env, value_name = "MONGO_URI", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = mongo_uri)]
    pub mongo_uri: SecretString,
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

fn parsed<T: FromStr>(value: &str, wants: &str, accepts: impl Fn(&T) -> bool) -> Result<T, String> {
    value
        .parse()
        .ok()
        .filter(|parsed| accepts(parsed))
        .ok_or_else(|| wants.to_owned())
}

fn text(
    value: &str,
    wants: impl Display,
    accepts: impl Fn(&str) -> bool,
) -> Result<String, String> {
    if accepts(value) {
        Ok(value.to_owned())
    } else {
        Err(wants.to_string())
    }
}

/// An address and a port.
pub fn listen_addr(value: &str) -> Result<SocketAddr, String> {
    parsed(value, "an address and a port, such as 0.0.0.0:3000", |_| {
        true
    })
}

fn boolean(value: &str) -> Result<bool, String> {
    parsed(value, "true or false", |_| true)
}

fn cookie_name(value: &str) -> Result<String, String> {
    let separator = |c: char| " \t()<>@,;\\\"/[]?={}".contains(c);
    text(
        value,
        "the name of a cookie, such as express:sess",
        |name| {
            !name.is_empty()
                && !name.contains(|c: char| !c.is_ascii() || c.is_ascii_control() || separator(c))
        },
    )
}

fn jwt_key(value: &str) -> Result<SecretString, String> {
    let wants = "a secret of 32 bytes or more, for example from: openssl rand -hex 32";
    text(value, wants, |key| key.len() >= 32).map(SecretString::from)
}

fn mongo_uri(value: &str) -> Result<SecretString, String> {
    let wants = "a connection string such as mongodb://127.0.0.1:27017/name?replicaSet=rs0";
    text(value, wants, |uri| {
        mongodb::options::ConnectionString::parse(uri).is_ok()
    })
    .map(SecretString::from)
}

fn nats_url(value: &str) -> Result<SecretString, String> {
    let wants = "addresses such as nats://127.0.0.1:4222, separated by commas";
    let valid = |url: &str| !url.is_empty() && url.parse::<async_nats::ServerAddr>().is_ok();
    text(value, wants, |urls| urls.split(',').all(valid)).map(SecretString::from)
}

fn stream_name(value: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text(value, "a name of letters, digits, - and _", |name| {
        !name.is_empty() && name.chars().all(allowed)
    })
}

fn replicas(value: &str) -> Result<usize, String> {
    parsed(value, "1, 3 or 5", |replicas| matches!(replicas, 1 | 3 | 5))
}

fn subject_prefix(value: &str) -> Result<String, String> {
    let token = |token: &str| {
        !token.is_empty()
            && token
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    text(
        value,
        "nothing, or words of letters, digits, - and _ with dots between them",
        |prefix| prefix.is_empty() || prefix.split('.').all(token),
    )
}

fn log_filter(value: &str) -> Result<String, String> {
    text(
        value,
        "a level (error, warn, info, debug, trace) or directives such as info,service=debug",
        |filter| tracing_subscriber::EnvFilter::try_new(filter).is_ok(),
    )
}

/// A duration such as `90s`, `10m` or `7d`.
pub fn duration(value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "a time such as 5s, 10m or 7d".to_owned())
}

fn retention(value: &str) -> Result<Duration, String> {
    // What a TTL index takes: whole seconds in 31 bits.
    let fits = |d: &Duration| (1..=i32::MAX as u64).contains(&d.as_secs());
    duration(value)
        .ok()
        .filter(fits)
        .ok_or_else(|| "a time between 1s and 68y, such as 7d".to_owned())
}

fn duplicate_window(value: &str) -> Result<Duration, String> {
    let fits = |d: &Duration| *d >= Duration::from_millis(100);
    duration(value)
        .ok()
        .filter(fits)
        .ok_or_else(|| "a time of 100ms or more, such as 2m".to_owned())
}

impl MongoConfig {
    /// The connection string, which may hold a password.
    pub fn uri(&self) -> &str {
        self.mongo_uri.expose_secret()
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
