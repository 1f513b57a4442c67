//! How many requests a second are taken from one caller.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};

use crate::{Refusal, auth::Caller};

/// Callers are forgotten when they have been quiet: after so many requests it is looked for such.
const FORGET_EVERY: usize = 10_000;
// draft-ietf-httpapi-ratelimit-headers-10: what is left of the policy, and the policy.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

type Limiter = RateLimiter<
    Counted,
    governor::state::keyed::DefaultKeyedStateStore<Counted>,
    DefaultClock,
    StateInformationMiddleware,
>;

/// Whom a limit is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counted {
    User(String),
    Address(Option<IpAddr>),
}

struct Limits {
    limiter: Limiter,
    per_second: u32,
    burst: u32,
    /// As it is told to callers.
    policy: HeaderValue,
    requests: AtomicUsize,
}

/// Limits the callers of `routes` to so many requests a second each, and twice as many at once; 0 for no limit.
pub(crate) fn with_rate_limit(routes: Router, per_second: u32) -> Router {
    let Some(per_second) = NonZeroU32::new(per_second) else {
        return routes;
    };
    let burst = per_second.saturating_add(per_second.get());
    let quota = Quota::per_second(per_second).allow_burst(burst);
    let limits = Arc::new(Limits {
        limiter: RateLimiter::keyed(quota).with_middleware(),
        per_second: per_second.get(),
        burst: burst.get(),
        policy: header_value(&format!(
            "\"caller\";q={burst};w={}",
            burst.get() / per_second
        )),
        requests: AtomicUsize::new(1),
    });
    routes.layer(middleware::from_fn_with_state(limits, limit_rate))
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
    let caller = match request.extensions().get() {
        Some(Caller(Ok(user))) => Counted::User(user.id.clone()),
        _ => Counted::Address(peer(&request)),
    };
    let (mut response, remaining) = match limits.limiter.check_key(&caller) {
        Ok(state) => (next.run(request).await, state.remaining_burst_capacity()),
        Err(not_until) => {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs() + 1;
            let mut response = Refusal::TooManyRequests.into_response();
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            (response, 0)
        }
    };
    let until_full = (limits.burst - remaining).div_ceil(limits.per_second);
    let left = header_value(&format!("\"caller\";r={remaining};t={until_full}"));
    let headers = response.headers_mut();
    headers.insert(RATE_LIMIT_POLICY, limits.policy.clone());
    headers.insert(RATE_LIMIT, left);
    response
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("letters, digits and quotes are a header's value")
}

fn peer(request: &Request) -> Option<IpAddr> {
    request
        .extensions()
        .get()
        .map(
            |ConnectInfo::<SocketAddr>(peer)| match peer.ip().to_canonical() {
                // One customer's network has 64 bits for itself. (IPv4 on a socket of both kinds is IPv4 by now.)
                IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
                address => address,
            },
        )
}
