//! How much is taken: so many requests a second from one caller, and so many at once, each for so long.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, FromRequest, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::{StateInformationMiddleware, StateSnapshot},
};
use metrics::counter;
use tokio::{sync::Semaphore, time::timeout};
use tracing::Instrument;

use crate::{
    Refusal, Timing, auth::Caller, forwarded::client, idempotency::WholeBody, observe::HTTP_REFUSED,
};
use ipnet::IpNet;

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
type Instant = <DefaultClock as Clock>::Instant;

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
    trusted_proxies: Vec<IpNet>,
    requests: AtomicUsize,
}

impl Limits {
    fn new(per_second: NonZeroU32, trusted_proxies: &[IpNet]) -> Self {
        let burst = per_second.saturating_add(per_second.get());
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self {
            limiter: RateLimiter::keyed(quota).with_middleware(),
            per_second: per_second.get(),
            burst: burst.get(),
            policy: header_value(&format!(
                "\"caller\";q={burst};w={}",
                burst.get() / per_second
            )),
            trusted_proxies: trusted_proxies.to_vec(),
            requests: AtomicUsize::new(1),
        }
    }

    /// Counts a request of `caller`.
    fn count(&self, caller: &Counted) -> Result<StateSnapshot, NotUntil<Instant>> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        if requests.is_multiple_of(FORGET_EVERY) {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(caller)
    }
}

/// Limits the callers of `routes` to so many requests a second each, and twice as many at once; 0 for no limit.
pub(crate) fn with_rate_limit(
    routes: Router,
    per_second: u32,
    trusted_proxies: &[IpNet],
) -> Router {
    let Some(per_second) = NonZeroU32::new(per_second) else {
        return routes;
    };
    let limits = Arc::new(Limits::new(per_second, trusted_proxies));
    routes.layer(middleware::from_fn_with_state(limits, limit_rate))
}

/// Counts a request for its user or, where the token names none, for the client's address: that at the other end of the connection, or what
/// trusted proxies say. What others say can be made up.
async fn limit_rate(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let caller = match request.extensions().get::<Caller>().map(|it| &it.user) {
        Some(Ok(user)) => Counted::User(user.id.clone()),
        _ => Counted::Address(address(&request, &limits.trusted_proxies)),
    };
    let (mut response, remaining) = match limits.count(&caller) {
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

fn address(request: &Request, trusted_proxies: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo::<SocketAddr>(peer) = request.extensions().get()?;
    Some(
        match client(peer.ip(), request.headers(), trusted_proxies) {
            // One customer's network has 64 bits for itself. (IPv4 on a socket of both kinds is IPv4 by now.)
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
            address => address,
        },
    )
}

#[derive(Clone)]
struct Workload {
    permits: Arc<Semaphore>,
    timing: Timing,
}

/// Works on `concurrency_limit` requests to `routes` at once, and refuses those above (503).
pub(crate) fn with_bounded_work(
    routes: Router,
    concurrency_limit: usize,
    timing: Timing,
) -> Router {
    let workload = Workload {
        permits: Arc::new(Semaphore::new(concurrency_limit)),
        timing,
    };
    routes.layer(middleware::from_fn_with_state(workload, bound_work))
}

/// Work goes on in a task of its own when its client hangs up, as it does in the database, and counts until it is done or
/// its time is over: clients that give up and send again would else pile up more than is allowed.
async fn bound_work(State(workload): State<Workload>, request: Request, next: Next) -> Response {
    let Workload { permits, timing } = workload;
    let request = match timeout(timing.body, with_whole_body(request)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return error.into_response(),
        Err(_) => return Refusal::BodyTimeout.into_response(),
    };
    let Ok(permit) = permits.try_acquire_owned() else {
        counter!(HTTP_REFUSED).increment(1);
        return Refusal::Overloaded.into_response();
    };
    let work = async move {
        let answer = timeout(timing.work, next.run(request)).await;
        drop(permit);
        answer.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => Refusal::Internal(error.into()).into_response(),
        },
    }
}

/// Slow clients wait here, and keep nobody else from being served.
async fn with_whole_body(request: Request) -> Result<Request, Refusal> {
    let (mut parts, body) = request.into_parts();
    match Bytes::from_request(Request::new(body), &()).await {
        Ok(body) => {
            parts.extensions.insert(WholeBody(body.clone()));
            Ok(Request::from_parts(parts, Body::from(body)))
        }
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Refusal::PayloadTooLarge)
        }
        Err(_) => Err(Refusal::invalid("the body could not be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_have_been_quiet_are_forgotten() {
        // Of so many a second: a caller is like a new one a microsecond after its only request.
        let limits = Limits::new(NonZeroU32::new(1_000_000).unwrap(), &[]);
        let count = |user: usize| assert!(limits.count(&Counted::User(user.to_string())).is_ok());
        (1..FORGET_EVERY).for_each(count);
        assert_eq!(limits.limiter.len(), FORGET_EVERY - 1);
        count(FORGET_EVERY);
        assert!(limits.limiter.len() < 10, "{}", limits.limiter.len());
    }
}
