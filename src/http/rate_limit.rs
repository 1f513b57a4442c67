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
    http::{HeaderName, HeaderValue, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};

use crate::{auth::Authenticator, error::Error};

/// Callers are forgotten when they have been quiet: after so many requests it is looked for such.
const FORGET_EVERY: usize = 10_000;
// draft-ietf-httpapi-ratelimit-headers-10: what is left of the policy, and the policy.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

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
    /// As it is told to callers.
    policy: HeaderValue,
    requests: AtomicUsize,
}

/// Limits the callers of `routes` to so many requests a second each, and twice as many at once; 0 for no limit.
pub fn with_rate_limit(routes: Router, per_second: u32, auth: Arc<Authenticator>) -> Router {
    let Some(per_second) = NonZeroU32::new(per_second) else {
        return routes;
    };
    let burst = per_second.saturating_add(per_second.get());
    let quota = Quota::per_second(per_second).allow_burst(burst);
    let limits = Arc::new(Limits {
        auth,
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
    let left = header_value(&format!("\"caller\";r={remaining};t={until_full}"));
    let headers = response.headers_mut();
    headers.insert(RATE_LIMIT_POLICY, limits.policy.clone());
    headers.insert(RATE_LIMIT, left);
    response
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("letters, digits and quotes are a header's value")
}

fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get().map(
        |ConnectInfo::<SocketAddr>(peer)| match peer.ip().to_canonical() {
            // One customer's network has 64 bits for itself. (IPv4 on a socket of both kinds is IPv4 by now.)
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
            address => address,
        },
    )
}
