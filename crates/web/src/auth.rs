//! Who is calling: a JWT, from the `Authorization` header or from the session cookie, becomes a [`User`].

mod keys;

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use axum_extra::extract::CookieJar;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use db::setting::{Unusable, unusable};
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::{HttpOptions, Refusal};

pub use keys::sign;

/// Our clock and the signer's may be this far apart.
pub const LEEWAY_SECONDS: u64 = 30;

const NO_TOKEN: &str = "a token is needed, as Authorization: Bearer <jwt> or in the session cookie";
pub(crate) const BAD_TOKEN: &str = "the token is not valid, or not any more";
pub(crate) const CROSS_SITE: &str = "a page of another site may not write with the session cookie";

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
    pub(crate) user: Result<User, &'static str>,
    is_by_cookie: bool,
}

/// Checks tokens.
pub struct Authenticator {
    key: DecodingKey,
    validation: Validation,
    session_cookie: String,
    /// Cookies come along with whatever a page makes a browser send, and prove nothing then.
    cross_site: CsrfLayer<fn(ProtectionError) -> Response>,
}

impl Authenticator {
    /// # Errors
    /// When there is no key, or none that can be used.
    pub fn new(options: &HttpOptions) -> Result<Self, Unusable> {
        // The only algorithm: a token does not get to choose how it is checked.
        let (key, algorithm) = keys::verification_key(&options.jwt)?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        let mut required = vec![];
        if options.jwt_require_exp {
            required.push("exp");
        }
        if let Some(issuer) = &options.jwt.jwt_issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.validate_aud = options.jwt.jwt_audience.is_some();
        if let Some(audience) = &options.jwt.jwt_audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let refused: fn(ProtectionError) -> Response =
            |_| Refusal::Forbidden(CROSS_SITE).into_response();
        let mut cross_site = CsrfLayer::new().with_rejection_response(refused);
        for origin in &options.cors_origins {
            let origin = origin.to_str().map_err(unusable("CORS_ORIGINS"))?;
            let added = cross_site.add_trusted_origin(origin);
            cross_site = added.map_err(unusable("CORS_ORIGINS"))?;
        }
        Ok(Self {
            key,
            validation,
            session_cookie: options.session_cookie.clone(),
            cross_site,
        })
    }

    /// Who has signed in with this token.
    fn user(&self, token: &str) -> Result<User, &'static str> {
        #[derive(Deserialize)]
        struct Claims {
            sub: Option<String>,
            /// Read only where there is no `sub`: others may hold anything in it.
            id: Option<Value>,
        }
        let decoded = decode::<Claims>(token, &self.key, &self.validation);
        let claims = decoded.map_err(|error| {
            tracing::debug!(%error, "a token is refused");
            BAD_TOKEN
        })?;
        let Claims { sub, id } = claims.claims;
        let id = || Some(id?.as_str()?.to_owned());
        match sub.or_else(id) {
            Some(id) if !id.is_empty() => Ok(User { id }),
            _ => Err("the token names no user: it has neither sub nor id"),
        }
    }

    /// The token in the session cookie; of several cookies of that name the first counts.
    fn cookie(&self, headers: &HeaderMap) -> Option<String> {
        #[derive(Deserialize)]
        struct Session {
            jwt: String,
        }
        let cookies = CookieJar::from_headers(headers);
        let session = BASE64
            .decode(cookies.get(&self.session_cookie)?.value())
            .ok()?;
        Some(serde_json::from_slice::<Session>(&session).ok()?.jwt)
    }
}

/// Finds out who is calling, for [`User`] and for the limits.
pub(crate) async fn identify(
    State(auth): State<Arc<Authenticator>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut is_by_cookie = false;
    let token = match request.headers().get(header::AUTHORIZATION) {
        Some(value) => value.to_str().ok().and_then(bearer),
        None => {
            let token = auth.cookie(request.headers());
            is_by_cookie = token.is_some();
            token
        }
    };
    let user = token.ok_or(NO_TOKEN).and_then(|token| auth.user(&token));
    request
        .extensions_mut()
        .insert(Caller { user, is_by_cookie });
    next.run(request).await
}

/// Refuses a write that a page of another site made a browser send with its session cookie.
pub(crate) async fn refuse_cross_site(
    State(auth): State<Arc<Authenticator>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>();
    if caller.is_none_or(|caller| !caller.is_by_cookie) {
        return next.run(request).await;
    }
    let next = auth.cross_site.layer(next);
    next.oneshot(request).await.into_response()
}

fn bearer(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match parts.extensions.get::<Caller>().map(|it| &it.user) {
            Some(Ok(user)) => Ok(user.clone()),
            Some(Err(why)) => Err(Refusal::Unauthorized(why)),
            None => Err(Refusal::Internal(anyhow::anyhow!(
                "a route that wants a user is outside of the stack"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
