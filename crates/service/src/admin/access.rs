//! Who may do what on the listener for those who run the service. Figures are for everybody who reaches it; keys, payloads and buttons are
//! for those who know `ADMIN_TOKEN`, or where there is none for this machine alone.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRef, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const BEARER: &str = "Bearer realm=\"admin\"";
const NOT_OURS: &str = "this name is not known here: ADMIN_HOSTS says which are";
const CROSS_SITE: &str = "another site's page has sent this; nothing was done";

/// Whom the listener is for.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    token: Option<SecretString>,
    is_loopback: bool,
    hosts: Vec<String>,
}

/// Whoever may see more than figures, for the log.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) address: String,
    /// What let them in.
    pub(crate) by: &'static str,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Refused {
    NoToken,
    WrongToken,
    /// There is no token, and the address is not of this machine alone.
    Closed,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                "ADMIN_TOKEN is needed, as Authorization: Bearer <token>",
            ),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "this is not ADMIN_TOKEN"),
            Self::Closed => (
                StatusCode::FORBIDDEN,
                "ADMIN_ADDR is no loopback address: set ADMIN_TOKEN to see more than figures",
            ),
        };
        let challenge = [(header::WWW_AUTHENTICATE, BEARER)];
        if status == StatusCode::UNAUTHORIZED {
            (status, challenge, text).into_response()
        } else {
            (status, text).into_response()
        }
    }
}

impl Access {
    pub(crate) fn new(
        address: SocketAddr,
        token: Option<SecretString>,
        hosts: Vec<String>,
    ) -> Self {
        let is_loopback = address.ip().is_loopback();
        Self {
            token,
            is_loopback,
            hosts,
        }
    }

    /// What lets a request in that has these headers.
    pub(crate) fn let_in(&self, headers: &HeaderMap) -> Result<&'static str, Refused> {
        let Some(token) = &self.token else {
            let by = self.is_loopback.then_some("loopback");
            return by.ok_or(Refused::Closed);
        };
        let given = headers.get(header::AUTHORIZATION).ok_or(Refused::NoToken)?;
        let given = given
            .as_bytes()
            .strip_prefix(b"Bearer ")
            .unwrap_or_default();
        // However much of it is right, this takes as long.
        let same = aws_lc_rs::constant_time::verify_slices_are_equal;
        let is_it = same(given, token.expose_secret().as_bytes()).is_ok();
        if is_it {
            Ok("ADMIN_TOKEN")
        } else {
            Err(Refused::WrongToken)
        }
    }

    /// Whether a browser may have been led here by a name that somebody else gave our address (DNS rebinding). Nobody gives a name to a
    /// number, so numbers are taken.
    fn is_ours(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_ours = |it: &String| it.eq_ignore_ascii_case(host);
        host.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(is_ours)
    }

    fn check(&self, request: &Request) -> Result<(), (StatusCode, &'static str)> {
        let host = host_of(request).filter(|host| self.is_ours(host.host()));
        let host = host.ok_or((StatusCode::MISDIRECTED_REQUEST, NOT_OURS))?;
        let all = |name: HeaderName| request.headers().get_all(name).into_iter();
        let is_own_site = all(SEC_FETCH_SITE).all(|site| site == "same-origin");
        let ours = ["http", "https"].map(|scheme| format!("{scheme}://{host}"));
        let is_own_page = all(header::ORIGIN).all(|it| ours.iter().any(|ours| it == ours));
        if request.method() == Method::POST && !(is_own_site && is_own_page) {
            return Err((StatusCode::FORBIDDEN, CROSS_SITE));
        }
        Ok(())
    }
}

/// The one host that a request is for.
fn host_of(request: &Request) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let named = hosts
        .next()
        .map(|host| Authority::try_from(host.as_bytes()));
    match (request.uri().authority(), named, hosts.next()) {
        (_, _, Some(_)) | (None, None, _) => None,
        (Some(authority), _, None) => Some(authority.clone()),
        (None, Some(host), None) => host.ok(),
    }
}

/// Refuses what comes by a name that is not ours (421), and what another site's page makes a browser send (403).
pub(crate) async fn only_from_here(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Response {
    match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator
where
    Access: FromRef<S>,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let by = Access::from_ref(state).let_in(&parts.headers)?;
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = address.map_or_else(String::new, |ConnectInfo(it)| it.to_string());
        Ok(Self { address, by })
    }
}
