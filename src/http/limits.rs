//! How much is taken at once: from one caller in a second, and from all of them together.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    BoxError, Router,
    error_handling::HandleErrorLayer,
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};

use crate::{
    auth::Authenticator,
    config::HttpConfig,
    error::{Error, problem_with_message},
};

/// Callers are forgotten when they have been quiet: after so many requests it is looked for such.
const FORGET_EVERY: usize = 10_000;

type Limiter = RateLimiter<
    Caller,
    governor::state::keyed::DefaultKeyedStateStore<Caller>,
    DefaultClock,
    StateInformationMiddleware,
>;

/// Whom a limit is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    User(String),
    Address(Option<IpAddr>),
}

struct Limits {
    auth: Arc<Authenticator>,
    limiter: Limiter,
    per_second: u32,
    burst: u32,
    requests: AtomicUsize,
}

/// Marks an answer that refuses for load alone: as many lines in the log would add to it.
#[derive(Clone)]
pub(super) struct Shed;

/// Puts both limits around `routes`.
pub fn with_limits(routes: Router, config: &HttpConfig, auth: Arc<Authenticator>) -> Router {
    let shed = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |_: BoxError| overloaded()))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(config.concurrency_limit));
    let routes = routes.layer(shed);
    let Some(per_second) = NonZeroU32::new(config.rate_limit) else {
        return routes;
    };
    let burst = per_second.saturating_add(per_second.get());
    let quota = Quota::per_second(per_second).allow_burst(burst);
    let limits = Arc::new(Limits {
        auth,
        limiter: RateLimiter::keyed(quota).with_middleware(),
        per_second: per_second.get(),
        burst: burst.get(),
        requests: AtomicUsize::new(1),
    });
    routes.layer(middleware::from_fn_with_state(limits, limit_rate))
}

fn overloaded() -> Response {
    let mut response = problem_with_message(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many requests are being worked on; nothing of this one was done",
    );
    response.extensions_mut().insert(Shed);
    response
}

/// Counts a request for its user or, where the token names none, for the address at the other end of the connection:
/// what a proxy says of addresses can be made up.
async fn limit_rate(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    if limits
        .requests
        .fetch_add(1, Ordering::Relaxed)
        .is_multiple_of(FORGET_EVERY)
    {
        limits.limiter.retain_recent();
    }
    let (mut parts, body) = request.into_parts();
    let caller = match limits.auth.user(&parts) {
        Ok(user) => {
            let caller = Caller::User(user.id.clone());
            parts.extensions.insert(user);
            caller
        }
        Err(_) => Caller::Address(peer(&parts)),
    };
    let (mut response, remaining) = match limits.limiter.check_key(&caller) {
        Ok(state) => {
            let request = Request::from_parts(parts, body);
            (next.run(request).await, state.remaining_burst_capacity())
        }
        Err(not_until) => {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs() + 1;
            let mut response = Error::TooManyRequests.into_response();
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            (response, 0)
        }
    };
    let until_full = (limits.burst - remaining).div_ceil(limits.per_second);
    let headers = response.headers_mut();
    // draft-ietf-httpapi-ratelimit-headers-10: the policy, and what is left of it.
    let policy = format!(
        "\"caller\";q={};w={}",
        limits.burst,
        limits.burst / limits.per_second
    );
    let left = format!("\"caller\";r={remaining};t={until_full}");
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}

fn peer(parts: &Parts) -> Option<IpAddr> {
    parts
        .extensions
        .get()
        .map(|ConnectInfo::<SocketAddr>(peer)| match peer.ip() {
            // One customer's network has 64 bits for itself.
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
            address => address,
        })
}
