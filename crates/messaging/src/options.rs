//! What a service is told about its events and its broker.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args};
use db::setting::{Maybe, boolean, file, wants, wants_duration};
use secrecy::{ExposeSecret, SecretString};

/// The events in the database.
#[derive(Debug, Clone, Args)]
pub struct EventOptions {
    /// How long an event is kept after it was published. One that is not published is kept for ever.
    #[arg(long, env, value_name = "EVENT_RETENTION", default_value = "7d",
          value_parser = wants_duration("a time between 1s and 68y, such as 7d", is_of_a_ttl_index))]
    pub event_retention: Duration,
}

/// The broker.
#[derive(Debug, Clone, Args)]
pub struct NatsOptions {
    /// NATS servers, separated by commas. Required.
    #[arg(long, env, value_name = "NATS_URL", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = url)]
    pub nats_url: SecretString,
    /// JetStream stream that the events are published to; created at start where there is none.
    // The default hangs on the service's name and is set where the command line is put together.
    #[arg(long, env, value_name = "NATS_STREAM", value_parser = stream_name)]
    pub nats_stream: String,
    /// Replicas of the stream when it is created: 1, 3 or 5.
    #[arg(long, env, value_name = "NATS_REPLICAS", default_value = "1", value_parser = wants("1, 3 or 5", |it: &usize| matches!(it, 1 | 3 | 5)))]
    pub nats_replicas: usize,
    /// De-duplication window of the stream when it is created.
    #[arg(long, env, value_name = "NATS_DUPLICATE_WINDOW", default_value = "2m",
          value_parser = wants_duration("a time of 100ms or more, such as 2m", |it| it.as_millis() >= 100))]
    pub nats_duplicate_window: Duration,
    /// Put before every subject, with a dot between, so that environments can share one NATS.
    #[arg(long, env, value_name = "NATS_SUBJECT_PREFIX", default_value = "", hide_default_value = true, value_parser = wants(WORDS, |it: &String| are_words(it)))]
    pub nats_subject_prefix: String,
    #[command(flatten)]
    pub access: NatsAccess,
}

/// How NATS is reached: who we are there, whom we trust, and where we may speak.
#[derive(Debug, Clone, Default, Args)]
pub struct NatsAccess {
    /// Credentials file (JWT and seed), as `nsc` writes it. It is read at each connection.
    #[arg(long, env, value_name = "NATS_CREDS_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_creds_file: Maybe<PathBuf>,
    /// File with the seed of an nkey, in place of a user in `NATS_URL`. It is read at each connection.
    #[arg(long, env, value_name = "NATS_NKEY_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_nkey_file: Maybe<PathBuf>,
    /// PEM file of the authorities that NATS's certificate is checked with, besides the system's. Turns TLS on.
    #[arg(long, env, value_name = "NATS_TLS_CA_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_tls_ca_file: Maybe<PathBuf>,
    /// PEM file of our certificate, where NATS asks for one; with `NATS_TLS_KEY_FILE`.
    #[arg(long, env, value_name = "NATS_TLS_CERT_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_tls_cert_file: Maybe<PathBuf>,
    /// PEM file of that certificate's private key.
    #[arg(long, env, value_name = "NATS_TLS_KEY_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub nats_tls_key_file: Maybe<PathBuf>,
    /// Begin with TLS, as servers with `handshake_first` want it. Turns TLS on.
    #[arg(long, env, value_name = "NATS_TLS_FIRST", default_value = "false", action = ArgAction::Set, value_parser = boolean)]
    pub nats_tls_first: bool,
    /// Where answers come to, in place of `_INBOX`: words with dots between them.
    #[arg(long, env, value_name = "NATS_INBOX_PREFIX", default_value = "", hide_default_value = true, value_parser = wants(WORDS, |it: &String| are_words(it)))]
    pub nats_inbox_prefix: String,
    /// JetStream domain, where the stream is in another than the server's own.
    #[arg(long, env, value_name = "NATS_JETSTREAM_DOMAIN", default_value = "", hide_default_value = true, value_parser = domain)]
    pub nats_jetstream_domain: Maybe<String>,
}

impl NatsOptions {
    /// The servers, which may hold passwords.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.nats_url.expose_secret().split(',')
    }
}

fn is_word(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.chars().all(allowed)
}

fn url(value: &str) -> Result<SecretString, String> {
    if value
        .split(',')
        .any(|url| url.starts_with("ws://") || url.starts_with("wss://"))
    {
        return Err(
            "nats:// or tls:// in place of ws:// or wss://: it is built without WebSockets"
                .to_owned(),
        );
    }
    let is_valid = |url: &str| !url.is_empty() && url.parse::<async_nats::ServerAddr>().is_ok();
    let are_valid = move |urls: &String| urls.split(',').all(is_valid);
    wants(
        "addresses such as nats://127.0.0.1:4222, separated by commas",
        are_valid,
    )(value)
    .map(SecretString::from)
}

/// The name of a stream, as options take it.
///
/// # Errors
/// What is wanted.
pub fn stream_name(value: &str) -> Result<String, String> {
    wants("a name of letters, digits, - and _", |it: &String| {
        is_word(it)
    })(value)
}

const WORDS: &str = "nothing, or words of letters, digits, - and _ with dots between them";

fn are_words(prefix: &str) -> bool {
    prefix.is_empty() || prefix.split('.').all(is_word)
}

fn domain(value: &str) -> Result<Maybe<String>, String> {
    let is_domain = |it: &String| it.is_empty() || is_word(it);
    let domain = wants("nothing, or a word of letters, digits, - and _", is_domain)(value)?;
    Ok(Some(domain).filter(|domain| !domain.is_empty()))
}

/// Whole seconds in 31 bits.
fn is_of_a_ttl_index(time: Duration) -> bool {
    (1..=i32::MAX as u64).contains(&time.as_secs())
}
