//! What a process is told besides what its parts are: the log, and the listener for those who run it. It is also the only
//! reader of the environment. Every variable is a flag too, so `--help` is the reference; a value that is missing or bad is
//! told in one line that names the variable and what it wants, and never shows what was given.

use std::{net::SocketAddr, time::Duration};

use axum::http::Uri;
use clap::{
    Args, ValueEnum,
    error::{ContextKind, ContextValue},
};
use db::setting::{self, Maybe, text};
use web::listen_addr;

/// The listener for those who run the service.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminOptions {
    /// Address and port of /metrics; keep it from the public.
    #[arg(long, env, value_name = "ADMIN_ADDR", default_value = "127.0.0.1:9090", value_parser = listen_addr)]
    pub(crate) admin_addr: SocketAddr,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogOptions {
    /// What to log: a level, or directives such as `info,messaging=debug`.
    #[arg(long, env, value_name = "RUST_LOG", default_value = "info", value_parser = log_filter)]
    pub(crate) rust_log: String,
    /// Lines for people (`text`) or for machines (`json`).
    #[arg(
        long,
        env,
        value_name = "LOG_FORMAT",
        default_value = "text",
        ignore_case = true
    )]
    pub(crate) log_format: LogFormat,
    /// Collector of traces (OTLP over HTTP, without /v1/traces). No traces by default.
    #[arg(long, env, value_name = "OTEL_EXPORTER_OTLP_ENDPOINT", default_value = "", hide_default_value = true, value_parser = otlp_endpoint)]
    pub(crate) otel_exporter_otlp_endpoint: Maybe<String>,
}

/// See [`LogOptions::log_format`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Reads `.env` into the environment, where there is one; what is set already wins.
/// Call it before any thread starts.
///
/// # Errors
/// One line that names the file and the place, never its contents.
pub(crate) fn load_dotenv() -> Result<(), String> {
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
pub(crate) fn bad_value(error: &clap::Error) -> Option<String> {
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

fn log_filter(value: &str) -> Result<String, String> {
    text(
        value,
        "a level (error, warn, info, debug, trace) or directives such as info,messaging=debug",
        |filter| tracing_subscriber::EnvFilter::try_new(filter).is_ok(),
    )
}

/// A duration such as `90s`, `10m` or `7d`.
pub(crate) fn duration(value: &str) -> Result<Duration, String> {
    setting::duration(value, "a time such as 5s, 10m or 7d", |it| !it.is_zero())
}

fn otlp_endpoint(value: &str) -> Result<Maybe<String>, String> {
    let is_http = |value: &str| {
        value
            .parse::<Uri>()
            .is_ok_and(|uri| uri.host().is_some() && uri.scheme_str() == Some("http"))
    };
    match value {
        "" => Ok(None),
        value if is_http(value) => Ok(Some(value.to_owned())),
        _ => Err(
            "an address such as http://127.0.0.1:4318; only http, to a collector nearby".to_owned(),
        ),
    }
}
