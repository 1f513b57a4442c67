//! What a service is told about who may call it, and where.

mod parse;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use axum::http::HeaderValue;
use clap::{ArgAction, Args};
use db::setting::{Maybe, boolean, file, wants, wants_duration};
use ipnet::IpNet;
use secrecy::SecretString;

pub(crate) use parse::jwt_key;
use parse::*;
pub use parse::{jwt_key as secret, listen_addr};

/// As browsers send them in `Origin`.
type Origins = Vec<HeaderValue>;
type Networks = Vec<IpNet>;

const PER_SECOND: &str = "requests a second from 1 to 1000000, or 0 for no limit";

fn is_rate(per_second: &u32) -> bool {
    *per_second <= 1_000_000
}

/// Who may call, and where.
#[derive(Debug, Clone, Args)]
pub struct HttpOptions {
    /// Address and port to listen on.
    #[arg(long, env, value_name = "LISTEN_ADDR", default_value = "0.0.0.0:3000", value_parser = listen_addr)]
    pub listen_addr: SocketAddr,
    #[command(flatten)]
    pub jwt: JwtOptions,
    /// Whether a token without `exp` is refused.
    #[arg(long, env, value_name = "JWT_REQUIRE_EXP", default_value = "true", action = ArgAction::Set, value_parser = boolean)]
    pub jwt_require_exp: bool,
    /// Name of the cookie that may hold the token, as Express's cookie-session writes it.
    #[arg(long, env, value_name = "SESSION_COOKIE", default_value = "express:sess", value_parser = cookie_name)]
    pub session_cookie: String,
    /// Requests a second of one user, or of one address where there is no user; twice as many at once. 0 for no limit.
    #[arg(long, env, value_name = "RATE_LIMIT", default_value = "100", value_parser = wants(PER_SECOND, is_rate))]
    pub rate_limit: u32,
    /// Writes a second of one user, besides; twice as many at once. 0 for no limit.
    #[arg(long, env, value_name = "WRITE_RATE_LIMIT", default_value = "20", value_parser = wants(PER_SECOND, is_rate))]
    pub write_rate_limit: u32,
    /// Proxies whose `X-Forwarded-For` or `Forwarded` is believed: addresses or networks, separated by commas. None by default.
    #[arg(long, env, value_name = "TRUSTED_PROXIES", default_value = "", hide_default_value = true, value_parser = networks)]
    pub trusted_proxies: Networks,
    /// Requests that are worked on at once, 1000 at most; those above are answered 503 at once.
    #[arg(long, env, value_name = "CONCURRENCY_LIMIT", default_value = "256",
          value_parser = wants("a whole number from 1 to 1000", |it: &usize| (1..=1_000).contains(it)))]
    pub concurrency_limit: usize,
    /// How long requests are still taken after a stop is asked for and /health/ready says so.
    #[arg(long, env, value_name = "STOP_DELAY", default_value = "1s",
          value_parser = wants_duration("a time of at most 9s, such as 1s; 0s for none", |it| it <= Duration::from_secs(9)))]
    pub stop_delay: Duration,
    /// Origins whose pages may call, cookies included, separated by commas. None by default.
    #[arg(long, env, value_name = "CORS_ORIGINS", default_value = "", hide_default_value = true, value_parser = origins)]
    pub cors_origins: Origins,
}

/// What tokens are signed or checked with: one of the two is needed.
#[derive(Debug, Clone, Args)]
pub struct JwtOptions {
    /// HS256 key of the tokens: 32 bytes or more, shared with whoever signs them. Required, but where there is
    /// a `JWT_PUBLIC_KEY_FILE`.
    #[arg(long, env, value_name = "JWT_KEY", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = jwt_key)]
    pub jwt_key: SecretString,
    /// The key of before: tokens that are signed with it are still taken.
    #[arg(long, env, value_name = "JWT_KEY_PREVIOUS", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = jwt_key)]
    pub jwt_key_previous: SecretString,
    /// The files that the two came from, where they are to be read again when they change.
    #[arg(skip)]
    pub jwt_key_file: Option<PathBuf>,
    /// See [`JwtOptions::jwt_key_file`].
    #[arg(skip)]
    pub jwt_key_previous_file: Option<PathBuf>,
    /// File of the public keys that tokens are checked with instead: PEM, one or more, or a JWKS; RSA (RS256), P-256 (ES256) or
    /// Ed25519 (EdDSA). Read again when it changes.
    #[arg(long, env, value_name = "JWT_PUBLIC_KEY_FILE", default_value = "", hide_default_value = true, value_parser = file)]
    pub jwt_public_key_file: Maybe<PathBuf>,
    /// Where the issuer has its JWKS, instead of a file: fetched when needed, kept while the issuer is away.
    #[arg(long, env, value_name = "JWKS_URL", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = jwks_url)]
    pub jwks_url: Maybe<String>,
    /// Who has to have issued a token (`iss`). Anyone with the key by default.
    #[arg(long, env, value_name = "JWT_ISSUER", default_value = "", hide_default_value = true, value_parser = claim)]
    pub jwt_issuer: Maybe<String>,
    /// Whom a token has to be for (`aud`): with an issuer that serves other applications too, its tokens for those are refused.
    #[arg(long, env, value_name = "JWT_AUDIENCE", default_value = "", hide_default_value = true, value_parser = claim)]
    pub jwt_audience: Maybe<String>,
}
