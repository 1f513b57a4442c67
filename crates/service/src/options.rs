//! What a process is told besides what its parts are: the log, and the listener for those who run it. Every variable is a flag too, so `--help` is the reference; a value that is missing or bad is
//! told in one line that names the variable and what it wants, and never shows what was given.

use std::{io, net::SocketAddr, process::ExitCode, time::Duration};

use axum::http::{Uri, uri::Authority};
use clap::{
    Arg, Args, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use db::setting::{Maybe, Unusable, wants, wants_duration};
use secrecy::SecretString;
use tracing_subscriber::filter::LevelFilter;
use web::{LONGEST_USER_ID, listen_addr, secret};

use crate::log::{for_a_moment, last_line};

/// The listener for those who run the service.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminOptions {
    /// Address and port of /metrics and of the live page; keep it from the public.
    #[arg(long, env, value_name = "ADMIN_ADDR", default_value = "127.0.0.1:9090", value_parser = listen_addr)]
    pub(crate) admin_addr: SocketAddr,
    /// Who gives it may see on the live page what is parked and why, and decide about it: 32 bytes or more. Without it, everybody may where
    /// `ADMIN_ADDR` is a loopback address, and nobody elsewhere.
    #[arg(long, env, value_name = "ADMIN_TOKEN", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = admin_token)]
    pub(crate) admin_token: SecretString,
    /// Names that the live page may be asked for by, besides localhost and addresses in numbers, separated by commas. None by default.
    #[arg(long, env, value_name = "ADMIN_HOSTS", default_value = "", hide_default_value = true, value_parser = hosts)]
    pub(crate) admin_hosts: Hosts,
}

type Hosts = Vec<String>;

/// What a header carries as it is.
fn admin_token(value: &str) -> Result<SecretString, String> {
    let is_carried = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let secret = secret(value)?;
    if value.bytes().all(is_carried) && value.trim() == value {
        Ok(secret)
    } else {
        Err(
            "ASCII characters without a space at the beginning or end, because it is sent in a header"
                .to_owned(),
        )
    }
}

fn hosts(value: &str) -> Result<Hosts, String> {
    let all = value.split(',').map(str::trim).filter(|it| !it.is_empty());
    let is_host = |it: &str| {
        let authority = it.parse::<Authority>();
        authority.is_ok_and(|authority| authority.host() == it)
    };
    let named: Option<_> = all.map(|it| is_host(it).then(|| it.to_owned())).collect();
    let wants = "names without ports, such as service.internal, separated by commas";
    named.ok_or_else(|| wants.to_owned())
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
    #[arg(long, env, value_name = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = otlp_endpoint)]
    pub(crate) otel_exporter_otlp_endpoint: Maybe<String>,
}

/// See [`LogOptions::log_format`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// One line for a bad value: which variable, and what it wants. `None` for help and for a wrong command line,
/// which clap tells best itself.
pub(crate) fn bad_value(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let (flag, value) = arg.split_once(['<', '['])?;
    // A value in capitals is an environment variable of that name.
    let name = match value.trim_end_matches(['>', ']']) {
        variable if !variable.contains(char::is_lowercase) => variable,
        _ => flag.trim(),
    };
    if let Some(wants) = std::error::Error::source(error) {
        return Some(format!("{name} wants {wants}"));
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            Some(format!("{name} wants one of: {}", values.join(", ")))
        }
        // It stands there without any.
        _ if error.kind() == ErrorKind::InvalidValue => {
            Some(format!("{} wants a value", flag.trim()))
        }
        _ => None,
    }
}

/// A variable that is empty is not set.
pub(crate) fn without_what_is_empty(arg: Arg) -> Arg {
    let given = arg.get_env().and_then(std::env::var_os);
    let has_default = !arg.get_default_values().is_empty();
    if has_default && given.is_some_and(|given| given.is_empty()) {
        arg.env(None)
    } else {
        arg
    }
}

/// Prints help, or what is wrong with a command line; how the process ends.
pub(crate) fn told(error: clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let printed = if error.use_stderr() {
        for_a_moment(move || error.print()).unwrap_or(Ok(()))
    } else {
        error.print()
    };
    match printed {
        Err(failed) if failed.kind() != io::ErrorKind::BrokenPipe => {
            last_line(failed.to_string());
            ExitCode::FAILURE
        }
        _ => ExitCode::from(code),
    }
}

impl LogOptions {
    /// # Errors
    /// When a part of the filter can't match anything: it was meant for something else, and nothing would be logged.
    pub(crate) fn check(&self, service: &str) -> Result<(), Unusable> {
        let service = service.replace('-', "_");
        let logs = |target: &str| {
            let all = LOGGED.into_iter().chain([service.as_str()]);
            all.into_iter()
                .any(|it| it.starts_with(target) || target.starts_with(it))
        };
        let directives = self.rust_log.split(',').map(str::trim);
        let mut directives = directives.filter(|it| !it.is_empty());
        let number = directives.position(|directive| {
            let is_level = directive.parse::<LevelFilter>().is_ok();
            let target = directive.split(['=', '[']).next().unwrap_or_default();
            !is_level && !logs(target)
        });
        number.map_or(Ok(()), |number| {
            let reason = format!(
                "its part {} is no level (off, error, warn, info, debug, trace), and nothing here logs by that name; {service}, {} do, and more",
                number + 1, LOGGED[..6].join(", "),
            );
            Err(Unusable { variable: "RUST_LOG", reason })
        })
    }
}

/// Who logs in this process, besides the service's own crate.
const LOGGED: [&str; 22] = [
    "db",
    "messaging",
    "service",
    "web",
    "mongodb",
    "async_nats",
    "axum",
    "h2",
    "hickory_net",
    "hickory_proto",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "log",
    "mio",
    "opentelemetry",
    "reqwest",
    "rustls",
    "tokio",
    "tower",
    "tower_http",
    "tracing",
];

fn log_filter(value: &str) -> Result<String, String> {
    let what =
        "a level (error, warn, info, debug, trace) or directives such as info,messaging=debug";
    let is_filter = |it: &String| tracing_subscriber::EnvFilter::try_new(it).is_ok();
    wants(what, is_filter)(value)
}

/// A duration such as `90s`, `10m` or `7d`.
pub(crate) fn duration(value: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(10 * 366 * 24 * 60 * 60);
    let what = "a time such as 5s, 10m or 7d: whole seconds, 10 years at most";
    let is_whole = move |it: Duration| it.as_secs() > 0 && it.subsec_nanos() == 0 && it <= most;
    wants_duration(what, is_whole)(value)
}

/// The id of a user whose token is taken.
pub(crate) fn user_id(value: &str) -> Result<String, String> {
    let what = format!("an id of 1 to {LONGEST_USER_ID} bytes");
    wants(what, |id: &String| {
        (1..=LONGEST_USER_ID).contains(&id.len())
    })(value)
}

fn otlp_endpoint(value: &str) -> Result<Maybe<String>, String> {
    let is_http = |value: &str| {
        value.parse::<Uri>().is_ok_and(|uri| {
            let is_plain = uri.authority().is_some_and(|it| !it.as_str().contains('@'));
            let is_plain = is_plain && uri.query().is_none();
            is_plain && uri.host().is_some() && uri.scheme_str() == Some("http")
        })
    };
    match value {
        "" => Ok(None),
        value if is_http(value) => Ok(Some(value.to_owned())),
        _ => Err(
            "an address such as http://127.0.0.1:4318; only http, to a collector nearby, and without a user or a query: OTEL_EXPORTER_OTLP_HEADERS says who we are".to_owned(),
        ),
    }
}
