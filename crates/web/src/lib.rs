//! HTTP for one service: what every route shares. It knows neither the domain nor NATS.
//!
//! A handler takes [`User`], [`IdempotencyKey`] and [`ValidJson`], and answers an [`Answer`] or a [`Refusal`], which is the
//! one place where a failure becomes a status. [`stack()`] puts the middleware around the routes, [`serve()`] takes connections.

mod answer;
mod auth;
mod body;
mod id;
mod idempotency;
mod metrics;
pub mod openapi;
mod options;
mod pages;
mod preconditions;
mod problem;
mod rate_limit;
mod refusal;
mod request_id;
mod serve;
mod stack;
mod timing;
mod trace;
mod workload;

pub use answer::{Answer, REPLAYED};
pub use auth::{Authenticator, LEEWAY_SECONDS, User, sign};
pub use body::ValidJson;
pub use id::Id;
pub use idempotency::{IdempotencyKey, collections};
pub use metrics::describe;
pub use options::{HttpOptions, JwtOptions, listen_addr};
pub use pages::{PageQuery, paged};
pub use preconditions::{IfMatch, IfNoneMatch, etag};
pub use problem::{Invalid, NotBegun, PROBLEM_JSON, Problem};
pub use refusal::Refusal;
pub use serve::serve;
pub use stack::{BODY_LIMIT_BYTES, Stack, stack};
pub use timing::Timing;
pub use trace::TraceParent;
