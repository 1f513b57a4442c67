//! HTTP for one service: what every route shares. It knows neither the domain nor NATS.
//!
//! A handler takes [`User`], [`IdempotencyKey`] and [`ValidJson`], and answers an [`Answer`] or a [`Refusal`], which is the
//! one place where a failure becomes a status. [`stack()`] puts the middleware around the routes, [`serve()`] takes connections.

pub mod asyncapi;
mod auth;
mod caching;
mod forwarded;
mod host;
mod id;
mod idempotency;
mod invalid;
mod json;
mod kept;
mod limits;
mod observe;
pub mod openapi;
mod options;
mod pages;
mod preconditions;
mod problem;
mod rate;
mod refusal;
mod serve;
mod stack;
mod timing;
mod trace;

pub use auth::{Authenticator, LEEWAY_SECONDS, LONGEST_TOKEN, LONGEST_USER_ID, User, sign};
pub use id::Id;
pub use idempotency::{IdempotencyKey, collections};
pub use json::{Answer, ValidJson, etag};
pub use limits::CHANGES_AT_ONCE;
pub use observe::{UNTRACED, describe};
pub use options::{HttpOptions, JwtOptions, listen_addr, secret};
pub use pages::{PageQuery, paged};
pub use preconditions::Preconditions;
pub use problem::{Invalid, Kind, Problem};
pub use refusal::Refusal;
pub use serve::{
    BODY_LIMIT_PARTS, Closing, HEAD_LIMIT_BYTES, LINGER_LIMIT, LINGER_LIMIT_BYTES,
    raise_file_limit, serve,
};
pub use stack::{BODY_LIMIT_BYTES, Stack, stack};
pub use timing::Timing;
pub use trace::Trace;
