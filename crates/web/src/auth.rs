//! Who is calling: a JWT, from the `Authorization` header or from the session cookie, becomes a [`User`].

mod issuer;
mod keyring;
mod keys;
mod token;

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use axum_extra::extract::cookie::Cookie;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use db::setting::{Unusable, unusable};
use serde::Deserialize;
use tower::{Layer, ServiceExt};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::{HttpOptions, Refusal, caching::NeedsUser};

pub use keys::sign;
pub use token::{LEEWAY_SECONDS, LONGEST_TOKEN, LONGEST_USER_ID};

use token::{Tokens, Wrong};

pub(crate) const CROSS_SITE: &str = "a page of another site may not write with the session cookie";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// cookie-session pads its base64, others don't.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The caller. As an extractor it answers 401 where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Opaque: whatever the signer of the token calls its users.
    pub id: String,
}

/// Who is calling, or why it is not known; kept beside the request, so that its token is checked once.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user: Result<User, Nobody>,
    is_by_cookie: bool,
}

/// Why it is not known who is calling.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Nobody {
    NoToken,
    InvalidToken(Wrong),
    /// The issuer has never answered with its keys.
    NoKeys,
}

/// Checks who is calling.
pub struct Authenticator {
    tokens: Tokens,
    session_cookie: String,
    /// Cookies come along with whatever a page makes a browser send, and prove nothing then.
    cross_site: CsrfLayer<fn(ProtectionError) -> Response>,
    /// Trusted as well: of `CORS_ORIGINS` those that the check does not know, such as `capacitor://localhost`.
    apps: Vec<HeaderValue>,
}

impl Authenticator {
    /// # Errors
    /// When there is no key, or none that can be used.
    pub fn new(options: &HttpOptions) -> Result<Self, Unusable> {
        let tokens = Tokens::new(options)?;
        let refused: fn(ProtectionError) -> Response =
            |_| Refusal::Forbidden(CROSS_SITE).into_response();
        let mut cross_site = CsrfLayer::new().with_rejection_response(refused);
        let (sites, apps): (Vec<_>, Vec<_>) = options
            .cors_origins
            .iter()
            .partition(|origin| origin.as_bytes().starts_with(b"http"));
        for origin in sites {
            let origin = origin.to_str().map_err(unusable("CORS_ORIGINS"))?;
            let added = cross_site.add_trusted_origin(origin);
            cross_site = added.map_err(unusable("CORS_ORIGINS"))?;
        }
        Ok(Self {
            tokens,
            session_cookie: options.session_cookie.clone(),
            cross_site,
            apps: apps.into_iter().cloned().collect(),
        })
    }

    async fn caller(&self, headers: &HeaderMap) -> Caller {
        let mut is_by_cookie = false;
        let token = match bearer(headers) {
            Ok(None) => {
                let token = self.cookie(headers);
                is_by_cookie = token.is_some();
                token.ok_or(Nobody::NoToken)
            }
            Ok(Some(token)) => Ok(token),
            Err(nobody) => Err(nobody),
        };
        let user = match token {
            Ok(token) => self.tokens.user(&token).await,
            Err(nobody) => Err(nobody),
        };
        Caller { user, is_by_cookie }
    }

    /// The token in the session cookie; of several cookies of that name the first counts. What other cookies hold does not matter, nor
    /// whether it is text.
    fn cookie(&self, headers: &HeaderMap) -> Option<String> {
        #[derive(Deserialize)]
        struct Session {
            jwt: String,
        }
        let mut pairs = headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        // The others are not read: there may be thousands.
        let ours = pairs.find(|pair| {
            let name = pair.split(|byte| *byte == b'=').next();
            name.is_some_and(|name| name.trim_ascii() == self.session_cookie.as_bytes())
        })?;
        let ours = Cookie::parse(std::str::from_utf8(ours).ok()?).ok()?;
        let session = BASE64.decode(ours.value_trimmed()).ok()?;
        Some(serde_json::from_slice::<Session>(&session).ok()?.jwt)
    }
}

/// The token of the `Authorization` header; `None` where there is no such header, which alone lets a cookie count.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Nobody> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(Nobody::InvalidToken(
            "there is more than one Authorization header",
        ));
    }
    let (scheme, token) = line
        .to_str()
        .unwrap_or_default()
        .split_once(' ')
        .ok_or(Nobody::NoToken)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Nobody::NoToken);
    }
    Ok(Some(token.trim().to_owned()))
}

/// Finds out who is calling, for [`User`] and for the limits.
pub(crate) async fn identify(
    State(auth): State<Arc<Authenticator>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = auth.caller(request.headers()).await;
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// A browser says once where a page is from. Of two, whoever looks at the first and whoever looks at the last see different pages.
fn says_twice(headers: &HeaderMap) -> bool {
    let is_doubled = |name| headers.get_all(name).iter().nth(1).is_some();
    is_doubled(&header::ORIGIN) || is_doubled(&SEC_FETCH_SITE)
}

/// Refuses a write that a page of another site made a browser send with its session cookie.
pub(crate) async fn refuse_cross_site(
    State(auth): State<Arc<Authenticator>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>();
    let by_cookie = caller.is_some_and(|caller| caller.is_by_cookie);
    let origin = request.headers().get(header::ORIGIN);
    let is_app = origin.is_some_and(|origin| auth.apps.contains(origin));
    if by_cookie && !request.method().is_safe() && says_twice(request.headers()) {
        return Refusal::Forbidden(CROSS_SITE).into_response();
    }
    if is_app || !by_cookie {
        return next.run(request).await;
    }
    let next = auth.cross_site.layer(next);
    next.oneshot(request).await.into_response()
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        if let Some(needs_user) = parts.extensions.get::<NeedsUser>() {
            needs_user.set();
        }
        match parts.extensions.get::<Caller>().map(|it| &it.user) {
            Some(Ok(user)) => Ok(user.clone()),
            Some(Err(Nobody::NoToken)) => Err(Refusal::NoToken),
            Some(Err(Nobody::NoKeys)) => Err(Refusal::NotReady),
            Some(Err(Nobody::InvalidToken(wrong))) => Err(Refusal::InvalidToken(wrong)),
            None => Err(Refusal::Internal(anyhow::anyhow!(
                "a route that wants a user is outside of the stack"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
