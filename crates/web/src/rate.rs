//! How often: so many requests a second from one caller, and so many writes of one user.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::{
    HttpOptions, Refusal,
    auth::{Caller, Nobody},
    forwarded::client,
};

/// Callers are forgotten when they have been quiet: after so many requests it is looked for such.
const FORGET_EVERY: usize = 10_000;
// draft-ietf-httpapi-ratelimit-headers-10: what is left of the policies, and the policies.
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

/// One limit: so many a second, and twice as many at once.
struct Rate {
    name: &'static str,
    limiter: Limiter,
    per_second: u32,
    burst: u32,
    requests: AtomicUsize,
}

/// What a limit says of a request.
struct Count<'a> {
    rate: &'a Rate,
    remaining: u32,
    /// Until the next is taken, where this one is not.
    wait: Option<Duration>,
}

impl Rate {
    /// 0 is no limit.
    fn new(name: &'static str, per_second: u32) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        let burst = per_second.saturating_add(per_second.get());
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Some(Self {
            name,
            limiter: RateLimiter::keyed(quota).with_middleware(),
            per_second: per_second.get(),
            burst: burst.get(),
            requests: AtomicUsize::new(1),
        })
    }

    fn count(&self, caller: &Counted) -> Count<'_> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        if requests.is_multiple_of(FORGET_EVERY) {
            self.limiter.retain_recent();
        }
        let (remaining, wait) = match self.limiter.check_key(caller) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => {
                let now = DefaultClock::default().now();
                (0, Some(until.wait_time_from(now)))
            }
        };
        Count {
            rate: self,
            remaining,
            wait,
        }
    }
}

/// The limits of the callers.
pub(crate) struct Rates {
    all: Option<Rate>,
    writes: Option<Rate>,
    trusted_proxies: Vec<IpNet>,
    /// Addresses that have sent too many bad tokens, and until when theirs are not looked at.
    unheard: Mutex<HashMap<Counted, Instant>>,
}

impl Rates {
    /// `None` where no limit is set.
    pub(crate) fn new(options: &HttpOptions) -> Option<Arc<Self>> {
        let all = Rate::new("caller", options.rate_limit);
        let writes = Rate::new("writes", options.write_rate_limit);
        (all.is_some() || writes.is_some()).then(|| {
            Arc::new(Self {
                all,
                writes,
                trusted_proxies: options.trusted_proxies.clone(),
                unheard: Mutex::default(),
            })
        })
    }

    fn address(&self, request: &Request) -> Counted {
        let peer = request.extensions().get();
        Counted::Address(peer.map(|ConnectInfo::<SocketAddr>(peer)| {
            match client(peer.ip(), request.headers(), &self.trusted_proxies) {
                // One customer's network has 64 bits for itself. (IPv4 on a socket of both kinds is IPv4 by now.)
                IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
                address => address,
            }
        }))
    }

    fn unhear(&self, address: Counted, wait: Duration) {
        let now = Instant::now();
        let mut unheard = self.unheard.lock();
        if unheard.len() >= FORGET_EVERY {
            unheard.retain(|_, until| *until > now);
        }
        unheard.insert(address, now + wait);
    }

    fn is_unheard_for(&self, address: &Counted) -> Option<Duration> {
        let unheard = self.unheard.lock();
        let wait = unheard
            .get(address)?
            .saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }
}

/// Does not look at tokens of an address whose bad ones have used up its limit.
pub(crate) async fn refuse_unheard(
    State(rates): State<Arc<Rates>>,
    request: Request,
    next: Next,
) -> Response {
    let tokens = [header::AUTHORIZATION, header::COOKIE];
    let may_have_token = tokens.iter().any(|it| request.headers().contains_key(it));
    if let Some(rate) = rates.all.as_ref().filter(|_| may_have_token)
        && let wait @ Some(_) = rates.is_unheard_for(&rates.address(&request))
    {
        let remaining = 0;
        return refused(&[Count {
            rate,
            remaining,
            wait,
        }])
        .unwrap_or_default();
    }
    next.run(request).await
}

/// Counts a request for its user or, where the token names none, for the client's address: that at the other end of the connection, or what
/// trusted proxies say. What others say can be made up.
pub(crate) async fn limit(
    State(rates): State<Arc<Rates>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>().map(|it| &it.user);
    let is_bad_token = matches!(caller, Some(Err(Nobody::InvalidToken(_))));
    let (counted, is_user) = match caller {
        Some(Ok(user)) => (Counted::User(user.id.clone()), true),
        _ => (rates.address(&request), false),
    };
    let mut counts: Vec<_> = rates.all.iter().map(|it| it.count(&counted)).collect();
    let is_taken = counts.iter().all(|count| count.wait.is_none());
    if is_user && is_taken && !request.method().is_safe() {
        counts.extend(rates.writes.iter().map(|it| it.count(&counted)));
    }
    if let Some(wait) = counts.iter().find_map(|count| count.wait)
        && is_bad_token
    {
        rates.unhear(counted, wait);
    }
    match refused(&counts) {
        Some(response) => response,
        None => tell(next.run(request).await, &counts),
    }
}

/// 429, where one of them says so.
fn refused(counts: &[Count<'_>]) -> Option<Response> {
    let wait = counts.iter().find_map(|count| count.wait)?;
    let refusal = Refusal::TooManyRequests {
        retry_after_seconds: wait.as_secs() + 1,
    };
    Some(tell(refusal.into_response(), counts))
}

fn tell(mut response: Response, counts: &[Count<'_>]) -> Response {
    let joined = |one: fn(&Count<'_>) -> String| {
        let all = counts.iter().map(one).collect::<Vec<_>>().join(", ");
        HeaderValue::from_str(&all).expect("letters, digits and quotes are a header's value")
    };
    let policy = joined(|Count { rate, .. }| {
        let (burst, seconds) = (rate.burst, rate.burst / rate.per_second);
        format!("\"{}\";q={burst};w={seconds}", rate.name)
    });
    let left = joined(
        |Count {
             rate, remaining, ..
         }| {
            let until_full = (rate.burst - remaining).div_ceil(rate.per_second);
            format!("\"{}\";r={remaining};t={until_full}", rate.name)
        },
    );
    if !counts.is_empty() {
        let headers = response.headers_mut();
        headers.insert(RATE_LIMIT_POLICY, policy);
        headers.insert(RATE_LIMIT, left);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_have_been_quiet_are_forgotten() {
        // Of so many a second: a caller is like a new one a microsecond after its only request.
        let rate = Rate::new("caller", 1_000_000).unwrap();
        let count = |user: usize| {
            let count = rate.count(&Counted::User(user.to_string()));
            assert!(count.wait.is_none());
        };
        (1..FORGET_EVERY).for_each(count);
        assert_eq!(rate.limiter.len(), FORGET_EVERY - 1);
        count(FORGET_EVERY);
        assert!(rate.limiter.len() < 10, "{}", rate.limiter.len());
    }
}
